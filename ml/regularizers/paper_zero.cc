#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/paper_zero.pb.h"

namespace prunelab {
namespace {

at::Tensor Term(const PaperZero&, const RegularizedLayer& layer) {
  const at::NoGradGuard outside_autograd;
  const at::Tensor& weight = layer.weight;
  // One column has no covariance (the normalisation is by columns less one).
  if (weight.size(2) != 2 || weight.size(3) < 2) return {};
  const at::Tensor kernels = weight.flatten(0, 1);  // [slices, 2, columns]
  const at::Tensor centred = kernels - kernels.mean(2, /*keepdim=*/true);
  const at::Tensor covariance = at::bmm(centred, centred.transpose(1, 2)) / (kernels.size(2) - 1);
  return covariance.triu().abs().sum();
}
const bool registered = RegisterLayerPenalty(&Term);

}  // namespace
}  // namespace prunelab
