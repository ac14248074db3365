// Penalties on the correlations between live filters of a layer, the shared part of `cov` and `squared_correlation`:
//
//   R = sum over layers of 2 / (n (n - 1)) sum over i < j of phi(rho_ij),   layers with n < 2 live filters add 0.
//
// The gradient has a closed form. With G_ij = phi'(rho_ij), zero on the diagonal, and U the matrix of rows u_i, the
// gradient in U is g = 2 / (n (n - 1)) G U; normalisation projects it, g_c = (g - (g . u) u) / |c| row by row; centring
// subtracts the row's mean. Since g . u is the row sum of G * rho (elementwise) and every row of U has mean zero, all
// of it is one matrix product: gradient = diag(1 / |c|) (2 / (n (n - 1)) G - diag(g . u)) diag(1 / |c|) C, C the
// centred rows. Layers of one shape are done together (conv_batches.h), dead filters as zero rows.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/network.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// phi and its derivative, elementwise; both must be 0 at 0. phi must be differentiable by autograd.
struct Phi {
  std::function<at::Tensor(const at::Tensor&rho)> value, derivative;
};

// On the nodes `convs`: see SelectCorrelatedConvs. Its Value is computed by autograd, layer by layer, its
// ValueAndGradients by the closed form.
std::unique_ptr<Regularizer> MakeCorrelationPenalty(std::set<std::string> convs, Phi phi);

// The convolutions that `layers` selects among those with a kernel larger than 1x1, or among all if
// `include_pointwise`. Error of the field "layers": none.
absl::StatusOr<std::set<std::string>> SelectCorrelatedConvs(const LayerSelection& layers, bool include_pointwise,
                                                            const NetworkInfo& network);

}  // namespace prunelab
