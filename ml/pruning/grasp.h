// What grasp (grasp.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Two halves of `images_per_class` images of each class (or all it has), the first of the probe's order, interleaved by
// class.
absl::StatusOr<std::vector<ProbeBatch>> GraspBatches(const NetworkProbe& probe, int64_t images_per_class);

// -w (H g) of each of `layers`, in the weight's shape and dtype. `layers` are all of the network's.
std::map<std::string, at::Tensor> GraspScores(const NetworkProbe& probe, const std::vector<PrunableLayer>& layers,
                                              const std::vector<ProbeBatch>& batches, double temperature);

}  // namespace prunelab
