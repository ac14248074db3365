#include "ml/network/fake_quantize.h"

#include <ATen/ATen.h>

#include <vector>

namespace prunelab {
namespace {

// [rows, 1, ...] like the weight.
at::Tensor ByRow(const at::Tensor& scale, const at::Tensor& weight) {
  std::vector<int64_t> shape(weight.dim(), 1);
  shape[0] = -1;
  return scale.view(shape);
}

}  // namespace

at::Tensor GridPlaces(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                      const at::Tensor& zero_point) {
  return (x / scale).round_().add_(zero_point).clamp_(0, LastPlace(node));
}

at::Tensor ApplyFakeQuantize(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                             const at::Tensor& zero_point) {
  return GridPlaces(node, x, scale, zero_point).sub_(zero_point).mul_(scale);
}

int64_t LastPlace(const FakeQuantize& node) { return (int64_t{1} << node.bits()) - 1; }

int64_t LargestLevel(int64_t weight_bits) { return (int64_t{1} << (weight_bits - 1)) - 1; }

at::Tensor WeightLevels(const at::Tensor& weight, const at::Tensor& scale, int64_t bits) {
  const int64_t levels = LargestLevel(bits);
  const at::Tensor ratios = weight.detach().to(at::kDouble) / ByRow(scale.to(at::kDouble), weight);
  return ratios.round().clamp(-levels, levels).to(at::kChar);
}

at::Tensor WeightsOfLevels(const at::Tensor& levels, const at::Tensor& scale) {
  return levels.to(at::kFloat) * ByRow(scale.to(at::kFloat), levels);
}

}  // namespace prunelab
