// Which runs of a search are to be trained now, and how far: those of the trials that it gives out (search/asha.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "experiments/config/load.h"
#include "experiments/search/search_outcome.h"
#include "experiments/search/trial_scores.h"
#include "experiments/sweep/planned_runs.h"
#include "experiments/sweep/runner_options.h"

namespace prunelab {

class SearchRuns {
 public:
  // `loaded` has a search, and `runs` are all of its runs, trial by trial and seed by seed. All must outlive this.
  SearchRuns(const LoadedAblation& loaded, const RunnerOptions& options, const std::vector<PlannedRun>& runs);

  // The runs that have come to be wanted since the last call, and that are not `pending`, i.e. wanted before and not
  // yet concluded: for each, epochs(run) says how far. None once the search's hours are used up.
  std::vector<size_t> TakeWanted(const std::set<size_t>& pending);
  // To how many epochs the run is trained next; 0: it was not wanted so far.
  int64_t epochs(size_t run) const { return epochs_[run]; }
  // The images that this takes, and those that the whole search will still take, about.
  double images(size_t run) const;
  double images_left() const;

  // What the run has come to there; no value: it has not.
  std::optional<TrialScore> Score(size_t run);
  // "epoch 3 of 9: validation 41.20 %"
  std::string ScoreText(size_t run, const TrialScore& score) const;
  // It is the first time that the run is trained.
  bool is_first(size_t run) const { return epochs_[run] == scores_.rungs().front(); }
  void SetFailed(size_t run);

  bool hours_are_over() const { return hours_are_over_; }
  SearchOutcome Outcome() { return OutcomeOf(scores_); }
  // Writes search.json and, once the search has ended with a best trial, best.textproto.
  absl::Status Write();

 private:
  AshaJob JobOf(size_t run, int64_t epochs) const;

  const Ablation* ablation_;
  std::string output_;
  size_t seeds_;
  double images_per_epoch_;  // of one run
  TrialScores scores_;
  std::vector<int64_t> epochs_;  // by run
  bool hours_are_over_ = false;
};

}  // namespace prunelab
