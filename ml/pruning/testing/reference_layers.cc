#include "ml/pruning/testing/reference_layers.h"

#include <ATen/ATen.h>

#include "ml/base/digest.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

constexpr uint64_t kStepStride = 1000000;

// The generator of Steele, Lea and Flood (2014) at position `index` of the sequence seeded with 0.
uint64_t SplitMix64(uint64_t index) {
  uint64_t z = (index + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Multiples of 2^-23 in [-1, 1): exact in float32.
void Fill(uint64_t first, const at::Tensor& tensor) {
  float* values = tensor.mutable_data_ptr<float>();
  for (int64_t i = 0; i < tensor.numel(); ++i) {
    values[i] = static_cast<float>(static_cast<double>(SplitMix64(first + i) >> 40) / (1 << 23) - 1);
  }
}

// The masks' bytes, all layers.
std::string Bytes(const std::map<std::string, at::Tensor>& masks) {
  std::string bytes;
  for (const PrunableLayer& layer : ExampleLayers(Granularity::kFilter, 1)) {
    const at::Tensor mask = masks.at(layer.node).contiguous().to(at::kByte);
    bytes.append(reinterpret_cast<const char*>(mask.const_data_ptr<uint8_t>()), mask.numel());
  }
  return bytes;
}

}  // namespace

std::vector<PrunableLayer> ReferenceLayers(Granularity granularity, int64_t step) {
  std::vector<PrunableLayer> layers = ExampleLayers(granularity, 1);
  uint64_t first = 0;
  for (PrunableLayer& layer : layers) {
    Fill(first, layer.weight);
    Fill(first + kStepStride * (step + 1), layer.gradient);
    first += layer.weight.numel();
  }
  return layers;
}

void SetMasks(const std::map<std::string, at::Tensor>& masks, std::vector<PrunableLayer>& layers) {
  for (PrunableLayer& layer : layers) layer.mask = masks.at(layer.node);
}

std::string FilterBits(const std::map<std::string, at::Tensor>& masks) {
  std::string bits = Bytes(masks);
  for (char& bit : bits) bit += '0';
  return bits;
}

std::string WeightMaskDigest(const std::map<std::string, at::Tensor>& masks) { return Sha256(Bytes(masks)); }

}  // namespace prunelab
