// Trains runs: each in a worker process of its own, several at once, or one after the other in this process.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/sweep/allotment.h"
#include "experiments/sweep/planned_runs.h"
#include "ml/base/file_lock.h"

namespace prunelab {

// The runs of a call and their progress. Everything that is referred to must outlive the training.
struct Sweep {
  const LoadedAblation& loaded;
  const RunnerOptions& options;
  const std::vector<FileLock>& locks;  // of the output folder
  std::vector<std::string> gpus;       // to compute on, as GpusFor names them; none: the CPU
  Allotment allotment;
  std::vector<PlannedRun> runs;
  std::vector<std::optional<RunResult>> results;  // of those that are done
};

// Trains the runs that have no result, and keeps results.csv up to date. A run that fails is a result; errors are the
// output folder's: it has vanished, or cannot be written.
absl::StatusOr<AblationOutcome> TrainRuns(Sweep sweep);

}  // namespace prunelab
