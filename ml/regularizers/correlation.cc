#include "ml/regularizers/correlation.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "ml/regularizers/live_filters.h"

namespace prunelab {

bool HasSpatialKernel(const RegularizedLayer& layer) {
  return layer.kind == RegularizedLayer::Kind::kConv && layer.weight.dim() == 4 &&
         layer.weight.size(2) * layer.weight.size(3) > 1;
}

at::Tensor FilterCorrelations(const RegularizedLayer& layer) {
  const at::Tensor live = LiveFilters(layer).nonzero().squeeze(1);
  const at::Tensor rows = FilterRows(MaskedWeight(layer)).index_select(0, live);
  const at::Tensor centred = rows - rows.mean(1, /*keepdim=*/true);
  const at::Tensor directions = centred / at::linalg_vector_norm(centred, 2, at::IntArrayRef{1}, /*keepdim=*/true);
  return directions.mm(directions.t());
}

std::optional<double> MeanAbsRho(const std::vector<RegularizedLayer>& layers) {
  const at::NoGradGuard no_gradients;
  double sum = 0;
  int64_t count = 0;
  for (const RegularizedLayer& layer : layers) {
    if (!HasSpatialKernel(layer)) continue;
    const at::Tensor rho = FilterCorrelations(layer);
    const double n = static_cast<double>(rho.size(0));
    if (n < 2) continue;
    sum += 2 / (n * (n - 1)) * rho.triu(1).abs().sum(at::kDouble).item<double>();
    ++count;
  }
  if (count == 0) return std::nullopt;
  return sum / static_cast<double>(count);
}

}  // namespace prunelab
