// Runs an ablation: every arm with every seed that is not done yet, each in a worker process of its own, into
// <output>/<arm>/<seed>/ (docs/results.md). Killed at any moment, the same command goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "experiments/config/config.h"
#include "experiments/records/records.h"
#include "experiments/sweep/shard.h"

namespace prunelab {

struct RunnerOptions {
  std::string output;     // folder; made when all is checked
  std::vector<Arm> arms;  // those to run
  Seeds seeds;
  Shard shard;
  std::string device = "auto";  // auto, cpu, cuda
  int64_t jobs = 0;             // runs at once; 0: as many as the machine has cores (see DefaultJobs)
  int64_t threads_per_run = 0;  // 0: the cores that jobs leave to each, one where a step is tiny
  int64_t retries = 1;          // of a run whose worker crashes
  bool terminal = false;        // lines that are written over instead of plain ones
  // How a worker is started; empty: runs are trained in this process, one after the other.
  std::vector<std::string> worker_command;
  std::function<bool()> stop;  // asked often, may be empty: true makes the workers write checkpoints and end
};

struct AblationOutcome {
  std::vector<RunResult> results;  // of the arms and seeds asked for, arm by arm
  int64_t trained = 0;             // runs of this call
  int64_t failed = 0;
  bool stopped = false;  // before all were done
};

// Opens the data, refuses what cannot be run (data, device, folder, an arm that is not what its folder holds, a folder
// that another process works in) before anything is written, then trains. Progress goes to standard error.
absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options);

// What a run of the ablation would do: arms with their sizes, runs that are done, all of the shard alone where there is
// one. Needs no data and writes nothing.
absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options);

}  // namespace prunelab
