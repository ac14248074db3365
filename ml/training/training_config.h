// Validation of training.proto.
#pragma once

#include "absl/status/status.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses, by field error: values out of the ranges that training.proto states, not-a-number, Nesterov's momentum
// without momentum or with dampening, milestones that do not increase. What depends on the data is not known here.
absl::Status ValidateTraining(const Training& training);

// The same for the weight. The regularizer itself is refused by its own factory.
absl::Status ValidateRegularization(const Regularization& regularization);

}  // namespace prunelab
