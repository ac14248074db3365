// Runs an ablation: every arm with every seed that is not done yet, one after the other, into
// <output>/<arm>/<seed>/ (docs/results.md).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "experiments/config.h"
#include "experiments/records.h"

namespace prunelab {

struct RunnerOptions {
  std::string output;     // folder; made when all is checked
  std::vector<Arm> arms;  // those to run
  Seeds seeds;
  std::string device = "auto";  // auto, cpu, cuda
  int64_t threads_per_run = 0;  // 0: ThreadsForWork
  bool terminal = false;        // one updating line instead of plain ones
};

struct AblationOutcome {
  std::vector<RunResult> results;  // of the arms and seeds asked for, arm by arm
  int64_t trained = 0;             // runs of this call
  int64_t failed = 0;
};

// Threads for training steps of `macs` multiply-accumulates each (forward): all cores, but one where a step is so small
// that threads would wait for each other longer than they work. A function of the work and the machine, so that runs
// repeat.
int64_t ThreadsForWork(int64_t macs);

// Opens the data, refuses what cannot be run (data, device, folder, an arm that is not what its folder holds) before
// anything is written, then trains. Progress goes to standard error.
absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options);

// What a run of the ablation would do: arms with their sizes, runs that are done. Needs no data and writes nothing.
absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options);

}  // namespace prunelab
