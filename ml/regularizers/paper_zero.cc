#include "ml/regularizers/paper_zero.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

namespace prunelab {
namespace {

class PaperZeroPenalty : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    const at::NoGradGuard outside_autograd;
    at::Tensor value;
    for (const RegularizedLayer& layer : layers) {
      const at::Tensor& weight = layer.weight;
      // One column has no covariance (the normalisation is by columns less one).
      if (layer.kind != RegularizedLayer::Kind::kConv || weight.size(2) != 2 || weight.size(3) < 2) continue;
      const at::Tensor kernels = weight.flatten(0, 1);  // [slices, 2, columns]
      const at::Tensor centred = kernels - kernels.mean(2, /*keepdim=*/true);
      const at::Tensor covariance = at::bmm(centred, centred.transpose(1, 2)) / (kernels.size(2) - 1);
      const at::Tensor term = covariance.triu().abs().sum();
      value = value.defined() ? value + term : term;
    }
    return value;
  }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Regularizer>> CreatePaperZero(const PaperZero& parameters, const NetworkInfo& network) {
  return std::make_unique<PaperZeroPenalty>();
}

}  // namespace prunelab
