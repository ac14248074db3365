// What a search has come to: its trials, the decisions in their order, and the best trial.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/search/asha.h"
#include "experiments/search/trial_scores.h"

namespace prunelab {

struct TrialOutcome {
  std::string name;
  std::vector<std::string> values;  // of the parameters
  std::vector<TrialScore> scores;   // of the rungs that it has reached
  bool over_target = false;         // it costs more than the search's target
};

struct SearchOutcome {
  std::vector<std::string> parameters;  // names
  std::vector<int64_t> rungs;           // epochs
  std::vector<TrialOutcome> trials;
  std::vector<AshaJob> jobs;  // in the order in which they were given out
  bool over = false;          // every job has its score, and no trial may go on
  // The best trial of the highest rung that any has reached: at the last one, of those that meet the target. No value:
  // none can be named.
  std::optional<size_t> best;
  int64_t epochs = 0, all_epochs = 0;  // that the trials were given, and that all of them would take to the end
};

// By what is known now.
SearchOutcome OutcomeOf(TrialScores& scores);

// The scores of the search in a results folder, by its records alone: for reports.
TrialScores RecordedScores(const Ablation& ablation, const std::string& folder);

// "of 30 trials, 3 were trained to the end (9 epochs); the best is trial_07 (learning_rate 0.13, rate 0.5) with a
// validation top-1 of 71.20 %".
std::string SearchSentence(const SearchOutcome& outcome);

// A row for each trial, the header first: its values, and its validation top-1 in % at each rung; the best ones first.
std::vector<std::vector<std::string>> TrialRows(const SearchOutcome& outcome);

// search.json: everything above.
std::string SearchJson(const SearchOutcome& outcome);

// best.textproto: an ablation of the best trial alone, that looks at the test data, with ten seeds that the search has
// not used. There is a best one.
std::string BestText(const Ablation& ablation, const SearchOutcome& outcome);

}  // namespace prunelab
