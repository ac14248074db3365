// What planned seeds can show, before any training.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"

namespace prunelab {

// For each comparison the smallest adjusted p that `seeds` seeds can reach and the difference detected with probability
// 0.8, from the spread of the pairs in `results`, else from `expected_sd` (of a difference, in the metric's unit; 0: no
// guess). "" without comparisons.
std::string PowerText(const Ablation& ablation, int64_t seeds, const std::vector<RunResult>& results,
                      double expected_sd);

}  // namespace prunelab
