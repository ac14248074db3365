// Model: a network and its tensors. Parameters, masks and buffers are dense tensors under PyTorch's names and never
// change their shape. A plan (plan.h) decides how a step is executed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/network/network.h"

namespace prunelab {

struct NamedTensor {
  std::string name;
  std::string node;  // the node that owns it
  at::Tensor tensor;
};

class Model {
 public:
  // Allocates all tensors on `device` in `dtype` (num_batches_tracked stays int64), filled with what their operators
  // call initial: zeros, except for ones in norms' weights and running_var and the like. Conv weights are
  // channels_last. Parameters require gradients.
  static Model Create(NetworkInfo info, at::ScalarType dtype, at::Device device);

  const NetworkInfo& info() const { return *info_; }
  // The same, shared by this model and its copies: models of one such object are of one network.
  const std::shared_ptr<const NetworkInfo>& shared_info() const { return info_; }
  at::ScalarType dtype() const { return dtype_; }
  at::Device device() const { return device_; }

  // In the network's order.
  const std::vector<NamedTensor>& parameters() const { return parameters_; }
  const std::vector<NamedTensor>& buffers() const { return buffers_; }
  // A parameter or buffer by name; it must exist.
  const at::Tensor& Get(const std::string& name) const;
  bool Has(const std::string& name) const { return by_name_.count(name) > 0; }

  // Masks by conv node, in the model's dtype, with values 0 and 1 and the shape [out, 1, 1, 1] (filters) or the
  // weight's (weights). A node without an entry is not masked.
  const std::map<std::string, at::Tensor>& masks() const { return masks_; }
  // Replaces the masks of the given nodes by copies of the given ones. The shapes must fit (checked).
  void SetMasks(const std::map<std::string, at::Tensor>& masks);

  // The same network with the given tensors, by name, instead of this model's own. They must have the same shapes, and
  // their dtype must be that of the resulting first parameter. All other tensors, and the masks, are shared with this
  // model.
  Model With(const std::map<std::string, at::Tensor>& tensors) const;

  // `values` as int64 on the device. They are copied at the first call with this `key`, which must always come with the
  // same values (checked), and copies of the model share them. A copy from the host synchronizes with a GPU, and a
  // captured step (recorder.h) must not do that.
  at::Tensor Index(const std::string& key, const std::vector<int64_t>& values) const;

  // The weight times its mask, without gradient.
  at::Tensor MaskedWeight(const std::string& conv_node) const;

 private:
  Model(NetworkInfo info, at::ScalarType dtype, at::Device device)
      : info_(std::make_shared<const NetworkInfo>(std::move(info))), dtype_(dtype), device_(device) {}
  std::shared_ptr<const NetworkInfo> info_;
  at::ScalarType dtype_;
  at::Device device_;
  std::vector<NamedTensor> parameters_, buffers_;
  std::map<std::string, at::Tensor> by_name_;
  std::map<std::string, at::Tensor> masks_;
  struct HeldIndex {
    std::vector<int64_t> values;
    at::Tensor tensor;
  };
  std::shared_ptr<std::map<std::string, HeldIndex>> indices_ = std::make_shared<std::map<std::string, HeldIndex>>();
};

// Initial weights, a pure function of (seed, name): convolutions He-normal (fan-out, gain sqrt(2)), linear layers
// and transposed convolutions PyTorch's default (uniform within 1 / sqrt(fan-in), as PyTorch counts it). Where a layer
// says its initial_deviation, its weights are normal with that deviation instead, and its bias is zero, as those of
// convolutions are. Compactors are the identity. All others are as their operators say: factors 1, addends 0. They are
// computed in float64 and then rounded.
void InitializeParameters(Model& model, uint64_t seed);

}  // namespace prunelab
