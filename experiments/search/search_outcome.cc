#include "experiments/search/search_outcome.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/phases.h"
#include "experiments/config/trials.h"
#include "ml/base/check.h"
#include "ml/base/files.h"
#include "ml/base/textproto.h"
#include "ml/compression/goal_config.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kConfirmingSeeds = 10;

bool IsLost(const TrialOutcome& trial) { return trial.scores.empty() || trial.scores.back().lost(); }

// Whether a trial is better than another one: it came further, or as far with a better score. Equals stay in their
// order.
bool IsBetter(const TrialOutcome& a, const TrialOutcome& b) {
  const auto key = [](const TrialOutcome& trial) {
    return std::make_tuple(!IsLost(trial), trial.scores.size(),
                           IsLost(trial) ? 0 : trial.scores.back().validation_top1);
  };
  return key(a) > key(b);
}

// Where any trial has come to the end, the best of those that meet the target; else the best of those that came
// furthest.
std::optional<size_t> BestOf(const std::vector<TrialOutcome>& trials, size_t rungs) {
  const auto finished = [&](const TrialOutcome& trial) { return trial.scores.size() == rungs && !IsLost(trial); };
  const bool any_finished = std::any_of(trials.begin(), trials.end(), finished);
  std::optional<size_t> best;
  for (size_t t = 0; t < trials.size(); ++t) {
    if (IsLost(trials[t]) || trials[t].over_target || (any_finished && !finished(trials[t]))) continue;
    if (!best || IsBetter(trials[t], trials[*best])) best = t;
  }
  return best;
}

std::string Percent(const TrialScore& score) {
  return score.lost() ? "lost" : absl::StrFormat("%.2f", 100 * score.validation_top1);
}

std::string ValuesText(const SearchOutcome& outcome, const TrialOutcome& trial) {
  std::string text;
  for (size_t p = 0; p < outcome.parameters.size(); ++p) {
    absl::StrAppend(&text, p == 0 ? "" : ", ", outcome.parameters[p], " ", trial.values[p]);
  }
  return text;
}

Json ScoreJson(const TrialScore& score) { return score.lost() ? Json(nullptr) : Json(score.validation_top1); }

}  // namespace

SearchOutcome OutcomeOf(TrialScores& scores) {
  const Search& search = scores.search();
  SearchOutcome outcome;
  outcome.rungs = scores.rungs();
  for (const SearchParameter& parameter : search.parameter()) outcome.parameters.push_back(ParameterName(parameter));
  for (int64_t trial = 0; trial < search.trials(); ++trial) {
    outcome.trials.push_back({TrialName(trial), DrawnValues(search, trial), {}, false});
  }
  const AshaReplay replay = scores.Replay();
  outcome.jobs = replay.jobs;
  outcome.over = replay.open.empty();
  for (const AshaJob& job : replay.jobs) {
    outcome.epochs += scores.EpochsOf(job);
    if (const std::optional<TrialScore> score = scores.Of(job)) {
      outcome.trials[static_cast<size_t>(job.trial)].scores.push_back(*score);
    }
  }
  outcome.all_epochs = search.trials() * outcome.rungs.back();
  for (TrialOutcome& trial : outcome.trials) {
    const std::optional<double> cost = trial.scores.empty() ? std::nullopt : trial.scores.back().cost;
    trial.over_target = cost && *cost > GoalShare(search.target()) * (1 + kCountedTolerance);
  }
  outcome.best = BestOf(outcome.trials, outcome.rungs.size());
  return outcome;
}

TrialScores RecordedScores(const Ablation& ablation, const std::string& folder) {
  const Search& search = ablation.search();
  std::vector<std::vector<TrialRun>> runs;
  for (int64_t trial = 0; trial < search.trials(); ++trial) {
    std::vector<TrialRun>& seeds = runs.emplace_back();
    for (int64_t i = 0; i < ablation.seeds().count(); ++i) {
      seeds.push_back(
          {JoinPath(JoinPath(folder, TrialName(trial)), absl::StrCat(ablation.seeds().first() + i)), "", false});
    }
  }
  // All trials have as many epochs, but their phases may be of a choice.
  RunConfig trial = ablation.base();
  if (ablation.factor_size() > 0 && ablation.factor(0).level_size() > 0) {
    MergePatch(ablation.factor(0).level(0).patch(), &trial).IgnoreError();
  }
  FillInPhases(&trial);
  const int64_t epochs = std::clamp<int64_t>(trial.training().epochs(), 1, kMaxSearchEpochs);
  return TrialScores(search, Rungs(search, epochs), std::move(runs), {});
}

std::string SearchSentence(const SearchOutcome& outcome) {
  const auto finished = std::count_if(outcome.trials.begin(), outcome.trials.end(), [&](const TrialOutcome& trial) {
    return trial.scores.size() == outcome.rungs.size() && !trial.scores.back().lost();
  });
  std::string text =
      absl::StrCat("of ", outcome.trials.size(), " trials, ", finished, finished == 1 ? " was" : " were",
                   " trained to the end (", outcome.rungs.back(), " epochs), and all of them together for ",
                   outcome.epochs, " epochs of the ", outcome.all_epochs, " that they would take to the end; ");
  if (!outcome.best) {
    const bool missed = std::any_of(outcome.trials.begin(), outcome.trials.end(),
                                    [](const TrialOutcome& trial) { return trial.over_target; });
    return absl::StrCat(text, missed ? "none of those meets the target" : "there is no best one");
  }
  const TrialOutcome& best = outcome.trials[*outcome.best];
  absl::StrAppend(&text, outcome.over ? "the best is " : "the best so far is ", best.name, " (",
                  ValuesText(outcome, best), ") with a validation top-1 of ", Percent(best.scores.back()), " %");
  if (best.scores.size() < outcome.rungs.size()) {
    absl::StrAppend(&text, " after ", outcome.rungs[best.scores.size() - 1], " epochs");
  }
  return text;
}

std::vector<std::vector<std::string>> TrialRows(const SearchOutcome& outcome) {
  std::vector<std::vector<std::string>> rows = {{"trial"}};
  for (const std::string& parameter : outcome.parameters) rows[0].push_back(parameter);
  for (const int64_t epochs : outcome.rungs)
    rows[0].push_back(absl::StrCat(epochs, epochs == 1 ? " epoch" : " epochs"));
  const bool costs = std::any_of(outcome.trials.begin(), outcome.trials.end(), [](const TrialOutcome& trial) {
    return !trial.scores.empty() && trial.scores.back().cost.has_value();
  });
  if (costs) rows[0].push_back("share of the dense cost");
  std::vector<const TrialOutcome*> order;
  for (const TrialOutcome& trial : outcome.trials) order.push_back(&trial);
  std::stable_sort(order.begin(), order.end(),
                   [](const TrialOutcome* a, const TrialOutcome* b) { return IsBetter(*a, *b); });
  for (const TrialOutcome* trial : order) {
    std::vector<std::string>& row = rows.emplace_back();
    row.push_back(trial->name);
    for (const std::string& value : trial->values) row.push_back(value);
    for (size_t rung = 0; rung < outcome.rungs.size(); ++rung) {
      row.push_back(rung < trial->scores.size() ? Percent(trial->scores[rung]) : "-");
    }
    if (!costs) continue;
    const std::optional<double> cost = trial->scores.empty() ? std::nullopt : trial->scores.back().cost;
    row.push_back(cost ? absl::StrFormat("%.3f%s", *cost, trial->over_target ? ", above the target" : "") : "-");
  }
  return rows;
}

std::string SearchJson(const SearchOutcome& outcome) {
  Json json;
  json["over"] = outcome.over;
  json["best"] = outcome.best ? Json(outcome.trials[*outcome.best].name) : Json(nullptr);
  json["rungs"] = outcome.rungs;
  json["epochs"] = outcome.epochs;
  json["all_epochs"] = outcome.all_epochs;
  Json& trials = json["trials"] = Json::array();
  for (const TrialOutcome& trial : outcome.trials) {
    Json& one = trials.emplace_back();
    one["name"] = trial.name;
    for (size_t p = 0; p < outcome.parameters.size(); ++p) one["values"][outcome.parameters[p]] = trial.values[p];
    Json& scores = one["validation_top1"] = Json::array();
    for (const TrialScore& score : trial.scores) scores.push_back(ScoreJson(score));
    if (!trial.scores.empty() && trial.scores.back().cost) {
      one["cost"] = *trial.scores.back().cost;
      one["over_target"] = trial.over_target;
    }
  }
  Json& jobs = json["jobs"] = Json::array();
  for (const AshaJob& job : outcome.jobs) {
    jobs.push_back({{"trial", outcome.trials[static_cast<size_t>(job.trial)].name},
                    {"epochs", outcome.rungs[static_cast<size_t>(job.rung)]}});
  }
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string BestText(const Ablation& ablation, const SearchOutcome& outcome) {
  const TrialOutcome& trial = outcome.trials[*outcome.best];
  const Level& level = ablation.factor(0).level(static_cast<int>(*outcome.best));
  Ablation best;
  best.set_name(absl::StrCat(ablation.name(), "_best"));
  best.set_description(absl::StrCat("The best trial of the search ", ablation.name(), ", ", trial.name, ": ",
                                    ValuesText(outcome, trial), "."));
  *best.mutable_base() = ablation.base();
  PRUNELAB_CHECK(MergePatch(level.patch(), best.mutable_base()).ok()) << level.name();
  best.mutable_base()->mutable_training()->clear_test_data();
  best.mutable_seeds()->set_first(ablation.seeds().first() + ablation.seeds().count());
  best.mutable_seeds()->set_count(kConfirmingSeeds);
  return PrettyText(best);
}

}  // namespace prunelab
