// What a run of an ablation would do.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "experiments/sweep/runner_options.h"

namespace prunelab {

// Arms with their sizes, runs that are done, and what is missing; all of it for the shard alone if there is one. Needs
// no data and writes nothing. Errors: what RunAblation would refuse, as far as it is known.
absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options);

}  // namespace prunelab
