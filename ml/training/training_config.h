// Validation of training.proto.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "ml/network/network.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses, by field error: values out of the ranges that training.proto states, not-a-number, Nesterov's momentum
// without momentum or with dampening, milestones that do not increase. What depends on the data is not known here.
absl::Status ValidateTraining(const Training& training);

// Refuses, by an error of the field "batch_size", a batch larger than all of the `images` that are trained on (those
// set aside for validation are none of them).
absl::Status CheckBatchSize(const Training& training, int64_t images);

// Refuses likewise a batch size that leaves a last batch of one image to a batch norm of maps of one pixel, which then
// has a single value a channel (ml/network/one_pixel_batch_norm.h). Says which sizes near it work.
absl::Status CheckLastBatch(const Training& training, const NetworkInfo& network, int64_t images);

// The same for the weight. The regularizer itself is refused by its own factory.
absl::Status ValidateRegularization(const Regularization& regularization);

}  // namespace prunelab
