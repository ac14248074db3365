// `cov`: filters decorrelated from each other, phi(r) = sqrt(r^2 + delta^2) - delta in CorrelationPenalty
// (correlation_penalty.h). This is what the text of "Dynamic Filter Pruning with Decorrelation Regularization" (KSC
// 2020) describes; what its code computes is `paper_zero`.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/cov.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Refuses a delta that is not above 0 and finite, and a selection without a convolution.
absl::StatusOr<std::unique_ptr<Regularizer>> CreateCov(const Cov& parameters, const NetworkInfo& network);

}  // namespace prunelab
