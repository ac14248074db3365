// Searches over hyperparameters, whole: which trials are trained how far, and what is left of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/config/load.h"
#include "experiments/records/records.h"
#include "experiments/reporting/report.h"
#include "experiments/search/asha.h"
#include "experiments/search/search_outcome.h"
#include "experiments/tests/small_ablation.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::ordered_json;

std::string Folder(const std::string& name) { return JoinPath(FreshFolder("search_test_" + name), "output"); }

// Eight trials, compared after 1 and 2 of 4 epochs. Some learn much less than others.
constexpr char kSearch[] = R"pb(
  search {
    trials: 8
    reduction: 2
    parallel: 3
    parameter {
      field: "training.sgd.learning_rate"
      log_uniform { from: 0.01 to: 1 }
    }
    parameter {
      field: "pruning.rate"
      uniform { from: 0.02 to: 0.3 }
    }
  }
)pb";

std::string Text(const std::string& search = kSearch, const std::string& base = "") {
  return SmallAblation("epochs: 4 validation_fraction: 0.2 schedule { cosine {} }",
                       "pruning { [type.googleapis.com/prunelab.DynamicL1] {} }" + base) +
         search;
}

Json SearchFile(const std::string& output) {
  return Json::parse(ReadFile(JoinPath(output, "search.json")).value_or("{}"));
}

std::vector<std::string> Lines(const std::string& output, const std::string& trial) {
  return WholeLines(ReadFile(JoinPath(output, trial + "/1/epochs.jsonl")).value_or(""));
}

// What a search leaves that must not depend on how it was disturbed.
std::map<std::string, std::string> FilesOf(const std::string& output, const LoadedAblation& loaded) {
  std::map<std::string, std::string> files;
  for (const char* name : {"search.json", "best.textproto", "ablation.textproto", "planned.textproto"}) {
    files[name] = ReadFile(JoinPath(output, name)).value_or("none");
  }
  for (const Arm& arm : loaded.arms) {
    for (const char* name : {"epochs.jsonl", "result.json", "last.safetensors", "config.textproto"}) {
      const std::string path = absl::StrCat(arm.name, "/1/", name);
      files[path] = ReadFile(JoinPath(output, path)).value_or("none");
    }
  }
  return files;
}

class SearchTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    loaded_ = new LoadedAblation(LoadText(Text()));
    output_ = new std::string(Folder("undisturbed"));
    const absl::StatusOr<AblationOutcome> outcome = RunAll(*loaded_, *output_);
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    outcome_ = new AblationOutcome(*outcome);
  }
  static LoadedAblation* loaded_;
  static std::string* output_;
  static AblationOutcome* outcome_;
};

LoadedAblation* SearchTest::loaded_ = nullptr;
std::string* SearchTest::output_ = nullptr;
AblationOutcome* SearchTest::outcome_ = nullptr;

TEST_F(SearchTest, TrialsAreTrainedAsFarAsTheDecisionsSay) {
  const Json json = SearchFile(*output_);
  EXPECT_TRUE(json["over"].get<bool>());
  ASSERT_EQ(json["rungs"], Json({1, 2, 4}));
  std::map<std::string, int64_t> epochs;
  int64_t finished = 0, all = 0;
  for (const Json& job : json["jobs"]) epochs[job["trial"]] = job["epochs"];
  ASSERT_EQ(epochs.size(), 8);
  for (const auto& [trial, last] : epochs) {
    const std::vector<std::string> lines = Lines(*output_, trial);
    bool diverged = false;
    for (const std::string& line : lines) diverged = diverged || ParseEpochLine(line)->diverged;
    if (!diverged) {
      EXPECT_EQ(static_cast<int64_t>(lines.size()), last) << trial;
    }
    EXPECT_EQ(PathExists(JoinPath(*output_, trial + "/1/result.json")), last == 4 || diverged) << trial;
    finished += last == 4;
    all += last;
  }
  EXPECT_EQ(json["epochs"].get<int64_t>(), all);
  EXPECT_EQ(json["all_epochs"].get<int64_t>(), 32);
  EXPECT_GE(finished, 1);
  EXPECT_LE(finished, 3);  // two of eight, or one more that was ahead for a while
  // Its own scores lead to these decisions.
  AshaPlan plan;
  plan.trials = 8;
  plan.reduction = 2;
  plan.parallel = 3;
  plan.rungs = {1, 2, 4};
  const AshaReplay replay = ReplayAsha(plan, [&](const AshaJob& job) -> std::optional<double> {
    const Json& score =
        json["trials"][static_cast<size_t>(job.trial)]["validation_top1"][static_cast<size_t>(job.rung)];
    return score.is_null() ? -std::numeric_limits<double>::infinity() : score.get<double>();
  });
  ASSERT_EQ(replay.jobs.size(), json["jobs"].size());
  for (size_t i = 0; i < replay.jobs.size(); ++i) {
    EXPECT_EQ(json["jobs"][i]["trial"], json["trials"][static_cast<size_t>(replay.jobs[i].trial)]["name"]);
  }
}

TEST_F(SearchTest, ScoresAreTheRecords) {
  const Json json = SearchFile(*output_);
  int64_t compared = 0;
  double best = 0;
  for (const Json& trial : json["trials"]) {
    const std::vector<std::string> lines = Lines(*output_, trial["name"]);
    for (size_t rung = 0; rung < trial["validation_top1"].size(); ++rung) {
      const Json& score = trial["validation_top1"][rung];
      if (score.is_null()) continue;
      const size_t epochs = json["rungs"][rung].get<size_t>();
      ASSERT_GE(lines.size(), epochs);
      EXPECT_EQ(score.get<double>(), ParseEpochLine(lines[epochs - 1])->measures.validation_top1());
      if (rung == 2) best = std::max(best, score.get<double>());
      ++compared;
    }
  }
  EXPECT_GE(compared, 12);
  ASSERT_TRUE(outcome_->search->best);
  EXPECT_EQ(outcome_->search->trials[*outcome_->search->best].scores.back().validation_top1, best);
  EXPECT_GT(best, 0.3);  // it has learned something
}

// Nothing that the search writes has a number of the test data, and its best trial's own config looks at them.
TEST_F(SearchTest, TestDataAreNotLookedAt) {
  int64_t looked_at = 0;
  for (const auto& [path, bytes] : FilesOf(*output_, *loaded_)) {
    std::vector<std::string> objects;
    if (absl::EndsWith(path, "epochs.jsonl")) objects = WholeLines(bytes);
    if (absl::EndsWith(path, "result.json") && bytes != "none") objects = {bytes};
    for (const std::string& object : objects) {
      const Json json = Json::parse(object);
      for (const auto& [key, value] : json.items()) {
        if (!absl::StartsWith(key, "test_")) continue;
        EXPECT_TRUE(value.is_null()) << path << ": " << key;
        ++looked_at;
      }
    }
  }
  EXPECT_GT(looked_at, 40);
  const std::string best = JoinPath(*output_, "best.textproto");
  const absl::StatusOr<LoadedAblation> loaded = LoadAblation(best, "seeds { count: 1 }");
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->arms.size(), 1);
  EXPECT_EQ(loaded->ablation.name(), "small_best");
  EXPECT_EQ(loaded->ablation.seeds().first(), 2);  // the search had seed 1
  RunConfig config = loaded->arms[0].config;
  EXPECT_TRUE(config.training().test_data());
  config.mutable_training()->set_test_data(false);
  const Arm& arm = loaded_->arms[*outcome_->search->best];
  EXPECT_EQ(config.SerializeAsString(), arm.config.SerializeAsString());
  const std::string output = Folder("confirmed");
  const absl::StatusOr<AblationOutcome> confirmed = RunAll(*loaded, output);
  ASSERT_TRUE(confirmed.ok()) << confirmed.status();
  EXPECT_TRUE(confirmed->results[0].measures.has_test_top1());
}

// Pausing changes nothing: the best trial is what its config trains in one go.
TEST_F(SearchTest, APausedRunIsTheRunInOneGo) {
  const Arm& arm = loaded_->arms[*outcome_->search->best];
  LoadedAblation alone = *loaded_;
  alone.ablation.clear_search();
  alone.arms = {arm};
  const std::string output = Folder("in_one_go");
  ASSERT_TRUE(RunAll(alone, output).ok());
  for (const char* name : {"epochs.jsonl", "result.json", "last.safetensors", "config.textproto"}) {
    const std::string path = absl::StrCat(arm.name, "/1/", name);
    EXPECT_EQ(ReadFile(JoinPath(output, path)).value(), ReadFile(JoinPath(*output_, path)).value()) << name;
  }
}

TEST_F(SearchTest, StoppedAtAnyStepItEndsAlike) {
  const std::string output = Folder("stopped");
  int64_t calls = 0;
  for (bool done = false; !done; ++calls) {
    ASSERT_LT(calls, 100);
    int64_t steps = 5 + 7 * (calls % 5);  // 12 steps make an epoch, and a pause is asked for, too
    const absl::StatusOr<AblationOutcome> outcome = RunAll(*loaded_, output, [&steps] { return --steps < 0; });
    ASSERT_TRUE(outcome.ok()) << outcome.status();
    done = !outcome->stopped;
  }
  EXPECT_GT(calls, 5);
  EXPECT_EQ(FilesOf(output, *loaded_), FilesOf(*output_, *loaded_));
}

TEST_F(SearchTest, ASecondCallTrainsNothing) {
  const std::map<std::string, std::string> before = FilesOf(*output_, *loaded_);
  const absl::StatusOr<AblationOutcome> again = RunAll(*loaded_, *output_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->trained, 0);
  EXPECT_TRUE(again->search->over);
  EXPECT_EQ(FilesOf(*output_, *loaded_), before);
}

// More trials go on from what is there.
TEST_F(SearchTest, MoreTrialsKeepTheFirstOnes) {
  const std::string output = Folder("more");
  ASSERT_TRUE(RunAll(*loaded_, output).ok());
  const std::string first = ReadFile(JoinPath(output, "trial_003/1/config.textproto")).value();
  const LoadedAblation more = LoadText(Text(), "search { trials: 10 }");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(more, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_GT(outcome->trained, 0);
  EXPECT_LT(outcome->trained, 8);  // not the first ones again
  EXPECT_EQ(ReadFile(JoinPath(output, "trial_003/1/config.textproto")).value(), first);
  EXPECT_TRUE(PathExists(JoinPath(output, "trial_009/1/epochs.jsonl")));
}

TEST_F(SearchTest, TheReportShowsTheTrialsAndMissesNone) {
  const std::string report = Folder("report");
  const absl::StatusOr<std::string> text = WriteReport({*output_}, report);
  ASSERT_TRUE(text.ok()) << text.status();
  EXPECT_THAT(*text, HasSubstr("A search: of 8 trials, "));
  EXPECT_THAT(*text, HasSubstr(absl::StrCat("the best is ", loaded_->arms[*outcome_->search->best].name)));
  EXPECT_THAT(*text, Not(HasSubstr("missing")));
  EXPECT_THAT(*text, Not(HasSubstr("Unfinished")));
  for (const char* name : {"summary.md", "report.html"}) {
    const std::string page = ReadFile(JoinPath(report, name)).value();
    for (const Arm& arm : loaded_->arms) {
      const std::string shown =
          name == std::string("summary.md") ? absl::StrReplaceAll(arm.name, {{"_", "\\_"}}) : arm.name;
      EXPECT_THAT(page, HasSubstr(shown)) << name;
    }
    EXPECT_THAT(page, HasSubstr("Validation top-1 in %, where trials were compared"));
  }
}

// Over several seeds a trial is their mean; what removal leaves is judged by validation data, too, and has to meet the
// target.
TEST(SearchWithRemovalTest, TheNetworkThatIsLeftIsJudged) {
  const LoadedAblation loaded = LoadText(Text(R"pb(
                                                search {
                                                  trials: 4
                                                  reduction: 2
                                                  first_epochs: 2
                                                  target { macs: 0.6 }
                                                  parameter {
                                                    field: "compression.rate"
                                                    uniform { from: 0 to: 0.9 }
                                                  }
                                                }
                                              )pb",
                                              "compression { mode: COUPLED fine_tune_epochs: 1 }"),
                                         "seeds { count: 2 }");
  const std::string output = Folder("removal");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  ASSERT_TRUE(outcome->search);
  int64_t finished = 0;
  for (size_t t = 0; t < 4; ++t) {
    const TrialOutcome& trial = outcome->search->trials[t];
    if (trial.scores.size() < 2) continue;
    ++finished;
    double mean = 0, cost = 0;
    for (const int64_t seed : {1, 2}) {
      const std::string folder = JoinPath(output, absl::StrCat(trial.name, "/", seed));
      const RunResult result = ReadResult(folder).value();
      EXPECT_FALSE(result.measures.has_removed_test_top1());
      EXPECT_FALSE(result.measures.has_fine_tuned_test_top1());
      EXPECT_TRUE(result.measures.has_removed_validation_top1());
      mean += result.measures.fine_tuned_validation_top1() / 2;
      cost = std::max(
          cost, static_cast<double>(result.measures.physical_macs()) / static_cast<double>(result.measures.macs()));
    }
    EXPECT_DOUBLE_EQ(trial.scores.back().validation_top1, mean);
    EXPECT_DOUBLE_EQ(trial.scores.back().cost.value(), cost);
    EXPECT_EQ(trial.over_target, cost > 0.6 * 1.02);
    if (outcome->search->best == t) {
      EXPECT_FALSE(trial.over_target);
    }
  }
  EXPECT_GE(finished, 2);
}

TEST(SearchWithRemovalTest, WhereNoneMeetsTheTargetNoneIsTheBest) {
  const LoadedAblation loaded = LoadText(Text(), "search { trials: 4 target { macs: 0.1 } }");
  const std::string output = Folder("none_meets");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->search->over);
  EXPECT_FALSE(outcome->search->best);
  EXPECT_FALSE(PathExists(JoinPath(output, "best.textproto")));
  EXPECT_THAT(SearchSentence(*outcome->search), HasSubstr("none of those meets the target"));
}

TEST(SearchEpochsTest, MoreOfThemAreAnotherSearch) {
  const std::string output = Folder("epochs");
  const std::string constant = absl::StrReplaceAll(Text(), {{"cosine {}", "constant {}"}});
  ASSERT_TRUE(RunAll(LoadText(constant, "search { trials: 4 }"), output).ok());
  const absl::StatusOr<AblationOutcome> longer =
      RunAll(LoadText(constant, "search { trials: 8 } base { training { epochs: 8 } }"), output);
  EXPECT_EQ(longer.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(longer.status().message()),
              HasSubstr("holds a trial of a search with 4 epochs, now there are 8; a search keeps its epochs"));
}

TEST(SearchWithHoursTest, NothingIsBegunOnceTheyAreUsedUp) {
  const LoadedAblation loaded = LoadText(Text(), "search { hours: 1e-9 }");
  const std::string output = Folder("hours");
  const absl::StatusOr<AblationOutcome> outcome = RunAll(loaded, output);
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_TRUE(outcome->hours_are_over);
  EXPECT_FALSE(outcome->search->over);
  EXPECT_EQ(outcome->trained, 1);                               // the one that was begun before
  EXPECT_TRUE(PathExists(JoinPath(output, "best.textproto")));  // so far
  const absl::StatusOr<AblationOutcome> more = RunAll(LoadText(Text(), "search { hours: 100 }"), output);
  ASSERT_TRUE(more.ok()) << more.status();
  EXPECT_TRUE(more->search->over);
}

}  // namespace
}  // namespace prunelab
