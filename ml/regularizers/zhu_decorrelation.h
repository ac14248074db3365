// `zhu_decorrelation`: after Zhu, Zhou and Li, "Improving Deep Neural Network Sparsity through Decorrelation
// Regularization", IJCAI 2018: the sum over layers of
//
//   |P - I|_F / n,   P the matrix of the correlations rho_ij between the layer's n live filters,
//
// and, if asked for, group_lasso_weight times half the sum of the norms of filters and of input channels
// (group_lasso.h). Layers with n < 2 add 0; where all filters are uncorrelated the subgradient is 0.
//
// What is known and what is not. From the abstract: a decorrelation term explicitly forces filters to be less
// correlated, and is combined with group LASSO. From a summary of the paper: correlations are taken over filters that a
// sparse mask does not leave out. The formula is that of a public reimplementation by others (henry-eigen/Decorr_Reg):
// Pearson correlations, filters with mean |w| > 1e-4, the norm not squared, divided by n; with weights 5 for it and
// 1e-3 for the group LASSO, that is group_lasso_weight: 2e-4. The authors' own equations, layers, weights and schedule
// were not to be had: whether they square the norm, how they scale it, and whether input channels are decorrelated too,
// is not known. Their initialization by orthogonal filters (SVD) is not part of a penalty and is left out.
// `squared_correlation` is the squared form as a mean over pairs.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/zhu_decorrelation.pb.h"

namespace prunelab {

// A layer's |P - I|_F / n as it is computed on a GPU, without looking which filters are live.
at::Tensor ZhuTermOnDevice(const RegularizedLayer& layer);

// Refuses a group_lasso_weight that is negative or not finite, and a selection without a convolution.
absl::StatusOr<std::unique_ptr<Regularizer>> CreateZhuDecorrelation(const ZhuDecorrelation& parameters,
                                                                    const NetworkInfo& network);

}  // namespace prunelab
