// Correlations between a convolution's filters: rho_ij of two live filters (live_filters.h) is the correlation
// coefficient of their weights, rho_ij = u_i . u_j with u = c / |c| and c the filter's weights less their mean.
#pragma once

#include <ATen/core/Tensor.h>

#include <optional>
#include <vector>

#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Whether the layer is a convolution with a kernel larger than 1x1, where filters are compared by default.
bool HasSpatialKernel(const RegularizedLayer& layer);

// The matrix of rho_ij over the convolution's live filters, [n, n] in the weight's dtype; n may be 0. Differentiable in
// the weight (the diagonal is 1 up to rounding).
at::Tensor FilterCorrelations(const RegularizedLayer& layer);

// The measure mean_abs_rho: the mean, over the convolutions with a spatial kernel that have at least two live filters,
// of the mean |rho_ij| over pairs i < j. Absent if there is no pair. Synchronizes with the device.
std::optional<double> MeanAbsRho(const std::vector<RegularizedLayer>& layers);

}  // namespace prunelab
