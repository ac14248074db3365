// What the runs of a search have come to, by their records.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/search/asha.h"

namespace prunelab {

// The run of a trial and a seed.
struct TrialRun {
  std::string folder;
  // Set: only what this run has left counts. "": whatever run is in the folder, as for a report.
  std::string run_id;
  bool failed = false;  // by what the caller knows, where not even that could be written
};

// A trial at a rung, over its seeds.
struct TrialScore {
  double validation_top1 = 0;  // the mean; minus infinity where a run diverged or failed
  // At the last rung, the largest share of the dense network's cost that the network of a run still has, where the
  // search has a target.
  std::optional<double> cost;
  bool lost() const;
};

class TrialScores {
 public:
  // The lines of epochs.jsonl that a run without a result has for certain: of that very run, and not to be taken back
  // when it goes on from its checkpoint. What it returns if they are fewer than `epochs` does not matter.
  using CertainRecords = std::function<std::vector<std::string>(const TrialRun&, int64_t epochs)>;

  // `rungs` as of Rungs; `runs`: by trial, then by seed. A run that failed is lost, for every process that shares the
  // search: it is not tried again. `certain` is not called for runs without a run_id, and may be empty then.
  TrialScores(Search search, std::vector<int64_t> rungs, std::vector<std::vector<TrialRun>> runs,
              CertainRecords certain)
      : search_(std::move(search)), rungs_(std::move(rungs)), runs_(std::move(runs)), certain_(std::move(certain)) {}

  const Search& search() const { return search_; }
  const std::vector<int64_t>& rungs() const { return rungs_; }
  // No value: not all of its runs are so far. What is known stays known.
  std::optional<TrialScore> Of(const AshaJob& job);
  // Of one run, the index of its seed.
  std::optional<TrialScore> OfRun(const AshaJob& job, size_t seed);
  void SetFailed(size_t trial, size_t seed);

  // The jobs that what is known leads to.
  AshaReplay Replay();
  // The epochs that a job trains, for each seed.
  int64_t EpochsOf(const AshaJob& job) const;

  // Seconds that the runs have been trained for, added up.
  double Seconds() const;

 private:
  Search search_;
  std::vector<int64_t> rungs_;
  std::vector<std::vector<TrialRun>> runs_;
  CertainRecords certain_;
  std::map<std::pair<std::pair<int64_t, int64_t>, size_t>, TrialScore> known_;  // by trial and rung, then seed
};

}  // namespace prunelab
