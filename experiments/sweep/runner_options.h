// What a call of the ablation program is to run, and what comes of it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "experiments/config/load.h"
#include "experiments/records/records.h"
#include "experiments/search/search_outcome.h"
#include "experiments/sweep/allotment.h"
#include "experiments/sweep/rank_options.h"
#include "experiments/sweep/shard.h"

namespace prunelab {

class RankStore;  // ml/distributed/rank_store.h

struct RunnerOptions {
  std::string output;     // folder; created when everything is checked
  std::vector<Arm> arms;  // the arms to run
  Seeds seeds;
  Shard shard;
  std::string device = "auto";  // auto, cpu, cuda
  int64_t jobs = 0;             // runs at once; 0: as many as the machine has cores, or GPUs (see Allot)
  int64_t threads_per_run = 0;  // 0: each job's share of the cores, one if a step is tiny
  int64_t retries = 1;          // of a run whose worker crashes
  bool terminal = false;        // overwrite lines instead of printing plain ones
  // How a worker is started; empty: runs are trained in this process, one after the other.
  std::vector<std::string> worker_command;
  RankOptions ranks;                          // of each run
  std::shared_ptr<RankStore> launched_store;  // where launched ranks meet
  std::function<bool()> stop;  // called often, may be empty: true makes the workers write checkpoints and end
};

struct AblationOutcome {
  std::vector<RunResult> results;  // of the requested arms and seeds, arm by arm
  int64_t trained = 0;             // runs of this call
  int64_t failed = 0;
  bool stopped = false;                 // before all runs were done
  std::optional<SearchOutcome> search;  // of an ablation that has one
  bool hours_are_over = false;          // the search's
};

// How the ablation's runs share the machine, and its GPUs if they compute on those.
inline Allotment AllotmentOf(const LoadedAblation& loaded, const RunnerOptions& options, const Machine& machine,
                             int64_t gpus) {
  const int64_t arms = static_cast<int64_t>(loaded.arms.size());
  const Ablation& ablation = loaded.ablation;
  const int64_t runs =
      (ablation.has_search() ? std::min(arms, ablation.search().parallel()) : arms) * ablation.seeds().count();
  if (options.ranks.launched) {  // one run at once
    return Allot(machine, 1, options.threads_per_run, gpus, runs, options.ranks.ranks_here);
  }
  return Allot(machine, options.jobs, options.threads_per_run, gpus, runs, options.ranks.count);
}

}  // namespace prunelab
