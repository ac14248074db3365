#include "ml/regularizers/live_filters.h"

#include <ATen/ATen.h>

#include "ml/base/check.h"

namespace prunelab {
namespace {

constexpr double kLeastMeanAbs = 1e-4;
constexpr double kLeastCentredShare = 1e-6;

bool IsChannelsLast(const at::Tensor& weight) { return weight.is_contiguous(at::MemoryFormat::ChannelsLast); }

}  // namespace

bool HasWeightMask(const RegularizedLayer& layer) {
  return layer.mask.defined() && layer.mask.numel() != layer.weight.size(0);
}

bool HasFilterMask(const RegularizedLayer& layer) { return layer.mask.defined() && !HasWeightMask(layer); }

at::Tensor MaskedWeight(const RegularizedLayer& layer) {
  return HasWeightMask(layer) ? layer.weight * layer.mask : layer.weight;
}

at::Tensor FilterMask(const RegularizedLayer& layer) {
  return HasFilterMask(layer) ? layer.mask.flatten().ne(0) : at::Tensor();
}

at::Tensor AppliedWeight(const RegularizedLayer& layer) {
  return layer.mask.defined() ? layer.weight * layer.mask : layer.weight;
}

at::Tensor UnmaskedFilters(const RegularizedLayer& layer) {
  if (!layer.mask.defined()) return {};
  return layer.mask.flatten(1).ne(0).any(1);
}

at::Tensor FilterRows(const at::Tensor& weight) {
  PRUNELAB_CHECK(weight.dim() == 4) << "a convolution's weight has 4 dimensions, not " << weight.dim();
  return (IsChannelsLast(weight) ? weight.permute({0, 2, 3, 1}) : weight).reshape({weight.size(0), -1});
}

at::Tensor FromFilterRows(const at::Tensor& rows, const at::Tensor& weight) {
  if (!IsChannelsLast(weight)) return rows.view(weight.sizes());
  return rows.view({weight.size(0), weight.size(2), weight.size(3), weight.size(1)}).permute({0, 3, 1, 2});
}

CentredRows Centre(const at::Tensor& rows, const at::Tensor& filter_mask, bool in_place) {
  const double width = static_cast<double>(rows.size(-1));
  // Not linalg_vector_norm, which is several times as slow for the order 1.
  const at::Tensor abs_sums = rows.abs().sum(-1);
  const at::Tensor row_norms = at::linalg_vector_norm(rows, 2, at::IntArrayRef{-1});
  const at::Tensor means = rows.mean(-1, /*keepdim=*/true);
  CentredRows result;
  result.centred = in_place ? rows.sub_(means) : rows - means;
  result.norms = at::linalg_vector_norm(result.centred, 2, at::IntArrayRef{-1});
  result.live = abs_sums.gt(kLeastMeanAbs * width).logical_and_(result.norms.ge(row_norms * kLeastCentredShare));
  if (filter_mask.defined()) result.live.logical_and_(filter_mask);
  return result;
}

UnitRows LiveUnitRows(const RegularizedLayer& layer, bool centred) {
  const at::Tensor rows = FilterRows(MaskedWeight(layer));
  const at::Tensor live = Centre(rows.detach(), FilterMask(layer)).live;
  const at::Tensor off = live.logical_not().unsqueeze(1);
  // Ones have a length, so that no gradient is NaN; their gradient is not used.
  const at::Tensor all = (centred ? rows - rows.mean(1, /*keepdim=*/true) : rows).masked_fill(off, 1);
  const at::Tensor unit = all / at::linalg_vector_norm(all, 2, at::IntArrayRef{1}, /*keepdim=*/true);
  return {unit.masked_fill(off, 0), live.to(rows.scalar_type())};
}

at::Tensor LiveFilters(const RegularizedLayer& layer) {
  return Centre(FilterRows(MaskedWeight(layer)).detach(), FilterMask(layer)).live;
}

}  // namespace prunelab
