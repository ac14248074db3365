// Runs an ablation: every arm with every seed that is not done yet, each in a worker process of its own, into
// <output>/<arm>/<seed>/ (docs/results.md). Killed at any moment, the same command goes on.
#pragma once

#include "absl/status/statusor.h"
#include "experiments/sweep/runner_options.h"

namespace prunelab {

// Opens the data, refuses what cannot be run (data, device, folder, an arm that is not what its folder holds, a folder
// that another process works in) before anything is written, then trains. Progress goes to standard error.
absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options);

}  // namespace prunelab
