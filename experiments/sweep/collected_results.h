// results.csv of a sweep: the runs of this call and what else the folder holds.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "experiments/records/records.h"
#include "experiments/sweep/planned_runs.h"

namespace prunelab {

// Writes results.csv, arm by arm: `results`, which are those of `runs`, and the results that the output folder holds
// beyond them, of other shards, seeds and arms of the ablation.
absl::Status CollectResults(const LoadedAblation& loaded, const RunnerOptions& options,
                            const std::vector<PlannedRun>& runs, const std::vector<RunResult>& results);

}  // namespace prunelab
