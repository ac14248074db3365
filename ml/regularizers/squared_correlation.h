// `squared_correlation`: phi(r) = r^2 in CorrelationPenalty (correlation_penalty.h), the Frobenius form after Zhu, Zhou
// and Li, "Improving Deep Neural Network Sparsity through Decorrelation Regularization", IJCAI 2018.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/squared_correlation.pb.h"

namespace prunelab {

// Refuses a selection without a convolution.
absl::StatusOr<std::unique_ptr<Regularizer>> CreateSquaredCorrelation(const SquaredCorrelation& parameters,
                                                                      const NetworkInfo& network);

}  // namespace prunelab
