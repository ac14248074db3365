// `kernel_cov`: what the code of "Dynamic Filter Pruning with Decorrelation Regularization" (KSC 2020) seems to have
// meant.
//
// A slice is the kh x kw kernel of one filter and one input channel. Its rows are variables, its columns observations:
// cov_ab = r_a . r_b / (kw - 1) with r the rows less their means. The penalty is the sum over the slices of live
// filters (live_filters.h, masked weights) of sum over a <= b of |cov_ab|, or its mean over those slices. Closed form:
// with S_ab = sign(cov_ab), sign(0) = 0, the gradient of a slice in row a is (sum over b of S_ab r_b + S_aa r_a) / (kw
// - 1); centring changes nothing, since the r have mean zero.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/kernel_cov.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Refuses a selection without a convolution whose kernel is at least 2 wide.
absl::StatusOr<std::unique_ptr<Regularizer>> CreateKernelCov(const KernelCov& parameters, const NetworkInfo& network);

}  // namespace prunelab
