// `none`: no penalty; value and gradients are undefined, that is exactly zero.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/regularizers/none.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

absl::StatusOr<std::unique_ptr<Regularizer>> CreateNoRegularizer(const NoRegularizer& parameters,
                                                                 const NetworkInfo& network);

}  // namespace prunelab
