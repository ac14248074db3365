// Runs an ablation: every arm with every seed that is not done yet, each in its own worker process, in
// <output>/<arm>/<seed>/ (docs/results.md). If it is killed at any moment, the same command resumes it.
#pragma once

#include "absl/status/statusor.h"
#include "experiments/sweep/runner_options.h"

namespace prunelab {

// Opens the data, and refuses what cannot be run (data, device, folder, an arm that differs from what its folder
// contains, a folder that another process works in) before anything is written. Then it trains. Progress is printed on
// standard error.
absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options);

}  // namespace prunelab
