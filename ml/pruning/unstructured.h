// Unstructured pruning: single weights by magnitude, with one threshold for all layers unless `ranking` says otherwise
// (Han et al. 2016). Either once, or gradually along the cubic schedule of Zhu and Gupta (2017, "To prune, or not to
// prune"):
//
//   rate(t) = rate + (initial_rate - rate) (1 - (t - begin) / (end - begin))^3
//
// where t counts steps, begin and end are the first steps of begin_epoch and end_epoch, and rankings come at begin,
// every `period` steps after it, and at end. After the last ranking the masks are fixed.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/unstructured.pb.h"

namespace prunelab {

// The cubic schedule's rate at step t, begin <= t <= end, begin < end.
double CubicRate(double initial_rate, double rate, int64_t begin, int64_t end, int64_t t);

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateUnstructured(const Unstructured& parameters,
                                                                    const PruningSetup& setup);

}  // namespace prunelab
