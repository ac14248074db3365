// Everything that a run's config alone can have wrong.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// The errors of an Arm's config, by field relative to RunConfig; none where it can be run. Network, strategies and
// regularizers are built to see what they refuse. Data that are not there are no error. `seed`: for strategies that
// draw.
std::vector<absl::Status> CheckRun(const RunConfig& config, uint64_t seed);

}  // namespace prunelab
