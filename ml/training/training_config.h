// Validation of training.proto.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "ml/network/network.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// Refuses, by field error: values outside of the ranges that training.proto states, NaN, Nesterov's momentum without
// momentum or with dampening, and milestones that do not increase. What depends on the data is not known here.
absl::Status ValidateTraining(const Training& training);

// Refuses, by an error of the field "batch_size", a batch larger than all of the `images` that are trained on (without
// those set aside for validation).
absl::Status CheckBatchSize(const Training& training, int64_t images);

// Refuses in the same way a batch size that leaves a last batch of one image if a batch norm has maps of one pixel,
// which would then have a single value per channel (ml/network/one_pixel_batch_norm.h). The error says which sizes near
// it work.
absl::Status CheckLastBatch(const Training& training, const NetworkInfo& network, int64_t images);

// The same for several processes that train together, each of which needs images of every batch. It also refuses what
// only one process can compute.
absl::Status CheckRanks(const Training& training, const NetworkInfo& network, int64_t images, int64_t ranks);

// The same for the weight. The regularizer's own factory checks the regularizer.
absl::Status ValidateRegularization(const Regularization& regularization);

}  // namespace prunelab
