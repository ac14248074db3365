// results.csv of a sweep: the runs of this call and everything else in the folder.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "experiments/records/records.h"
#include "experiments/sweep/planned_runs.h"

namespace prunelab {

// Writes results.csv, arm by arm: `results`, which belong to `runs`, and the other results in the output folder, of
// other shards, seeds and arms of the ablation.
absl::Status CollectResults(const LoadedAblation& loaded, const RunnerOptions& options,
                            const std::vector<PlannedRun>& runs, const std::vector<RunResult>& results);

}  // namespace prunelab
