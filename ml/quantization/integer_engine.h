// An integer network made ready to run fast on a CPU: for one batch size, structure and memory are planned and weights
// are arranged once, and a call allocates next to nothing. Its results are those of IntegerNetwork::Run bit for bit.
//
//   IntegerEngine engine(integers, /*images=*/64);
//   const at::Tensor logits = engine.Run(images)[0];
//
// Activations are channels last, each pixel's channels padded to a multiple of 16 (ml/kernels/integer_conv). Where an
// operator has no fast form (resizing, padding, uneven pools, ...), the definition computes it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ml/kernels/integer_conv/integer_conv.h"
#include "ml/quantization/integer_network.h"

namespace prunelab {

class IntegerEngine {
 public:
  // `network` outlives this object.
  IntegerEngine(const IntegerNetwork& network, int64_t images);

  // `images` [N, C, H, W], float32, normalized, as many as was said (checked). The network's outputs, float32.
  std::vector<at::Tensor> Run(const at::Tensor& images);

  // Nodes that the definition computes: "resize (resize)".
  const std::vector<std::string>& plain_nodes() const { return plain_nodes_; }
  int64_t bytes() const;  // of activations

 private:
  // The value of a node: [images or 1][height][width][stride] places, in a buffer that later values may share.
  struct Value {
    int64_t images = 0, channels = 0, height = 1, width = 1, stride = 0;
    int buffer = -1;
    int64_t pixels() const { return images * height * width; }
    int64_t numbers() const { return pixels() * stride; }
  };

  // Convolutions whose results are only scattered write the scattered channels themselves: those that nothing is put
  // into have weights of zero. By convolution's step, the scatter's node.
  void FindScatteredConvs();
  uint8_t* Places(int node) { return buffers_[values_[node].buffer].data(); }
  void Plan(const IntegerStep& step);
  std::function<void()> Prepare(const IntegerStep& step);
  std::function<void()> PrepareConv(const IntegerStep& step, IntegerConv conv, bool sums);
  std::function<void()> PrepareSum(const IntegerStep& step, const IntegerSum& sum);
  std::function<void()> PrepareProduct(const IntegerStep& step, const IntegerProduct& product);
  std::function<void()> PrepareConcat(const IntegerStep& step, const IntegerConcat& concat);
  std::function<void()> PreparePool(const IntegerStep& step, const IntegerAveragePool& pool);
  std::function<void()> PrepareMoved(const IntegerStep& step);
  std::function<void()> PrepareMaxPool(const IntegerStep& step, const Window& window);
  std::function<void()> PreparePlain(const IntegerStep& step);
  at::Tensor ToTensor(int node) const;                  // [N, C, H, W] or [N, features]
  void FromTensor(const at::Tensor& places, int node);  // the other way

  const IntegerNetwork& network_;
  const int64_t images_;
  std::map<int, int> scattered_;  // by the node of a convolution's step, that of the scatter that it does, too
  std::vector<Value> values_;     // by node
  std::vector<std::vector<uint8_t>> buffers_;
  std::vector<std::function<void()>> steps_;
  std::vector<at::Tensor> sums_;  // by node, of those whose sums are results: float32
  std::vector<std::string> plain_nodes_;
  at::Tensor input_;  // of the call
};

}  // namespace prunelab
