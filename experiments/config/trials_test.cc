#include "experiments/config/trials.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/config/load.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"
#include "ml/base/textproto.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kBase[] = R"(
  name: "tuned"
  seeds { count: 1 }
  base {
    network { [type.googleapis.com/prunelab.ResNetCifar] { depth: 8 width: 4 } }
    dataset { [type.googleapis.com/prunelab.Digits] {} }
    training { epochs: 9 validation_fraction: 0.2 }
    pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 0.5 } }
  }
)";

constexpr char kSearch[] = R"(
  search {
    trials: 30
    parameter { field: "training.sgd.learning_rate" log_uniform { from: 0.001 to: 1 } }
    parameter { field: "pruning.rate" uniform { from: 0.25 to: 0.75 } }
    parameter { name: "batch" field: "training.batch_size" whole { from: 16 to: 19 } }
    parameter { name: "decay" choice {
      level { name: "none" }
      level { name: "some" patch { training { sgd { weight_decay: 1e-4 } } } } } }
  }
)";

absl::StatusOr<LoadedAblation> Load(const std::string& text, const std::string& override_text = "") {
  const std::string path = JoinPath(FreshFolder("trials_test"), "search.textproto");
  EXPECT_TRUE(WriteFileAtomically(path, text).ok());
  return LoadAblation(path, override_text);
}

std::string ErrorOf(const std::string& text, const std::string& override_text = "") {
  return std::string(Load(text, override_text).status().message());
}

TEST(TrialsTest, TrialsAreTheArms) {
  const absl::StatusOr<LoadedAblation> loaded = Load(absl::StrCat(kBase, kSearch));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->arms.size(), 30);
  EXPECT_EQ(loaded->arms[0].name, "trial_000");
  EXPECT_EQ(loaded->arms[29].name, "trial_029");
  std::set<std::string> configs;
  for (size_t i = 0; i < 30; ++i) {
    const RunConfig& config = loaded->arms[i].config;
    const std::vector<std::string> values = DrawnValues(loaded->ablation.search(), static_cast<int64_t>(i));
    ASSERT_EQ(values.size(), 4);
    EXPECT_EQ(absl::StrCat(config.training().sgd().learning_rate()), values[0]);
    EXPECT_THAT(PrettyText(config), HasSubstr(absl::StrCat("rate: ", values[1])));
    EXPECT_EQ(absl::StrCat(config.training().batch_size()), values[2]);
    EXPECT_EQ(config.training().sgd().weight_decay(), values[3] == "some" ? 1e-4 : 0);
    EXPECT_FALSE(config.training().test_data());
    EXPECT_EQ(config.training().epochs(), 9);  // of the base, as all that is not drawn
    configs.insert(PrettyText(config));
  }
  EXPECT_EQ(configs.size(), 30);
}

// Many draws are where they may be, everywhere there, and as often as they should be.
TEST(TrialsTest, DrawsHaveTheirDistributions) {
  Ablation ablation;
  ASSERT_TRUE(TextProtoSource::Parse("text", kSearch, &ablation).ok());
  constexpr int kTrials = 4000;
  double logs = 0, log_squares = 0, rates = 0, lowest = 1, highest = 0;
  std::map<std::string, int> batches, decays;
  for (int64_t trial = 0; trial < kTrials; ++trial) {
    const std::vector<std::string> values = DrawnValues(ablation.search(), trial);
    double rate = 0, prune = 0;
    ASSERT_TRUE(absl::SimpleAtod(values[0], &rate) && absl::SimpleAtod(values[1], &prune));
    EXPECT_GE(rate, 0.001);
    EXPECT_LE(rate, 1);
    logs += std::log10(rate) / kTrials;
    log_squares += std::log10(rate) * std::log10(rate) / kTrials;
    rates += prune / kTrials;
    lowest = std::min(lowest, prune);
    highest = std::max(highest, prune);
    ++batches[values[2]];
    ++decays[values[3]];
  }
  // log10 is uniform on [-3, 0]: mean -1.5 with a standard error of 0.014, variance 0.75.
  EXPECT_NEAR(logs, -1.5, 0.06);
  EXPECT_NEAR(log_squares - logs * logs, 0.75, 0.05);
  EXPECT_NEAR(rates, 0.5, 0.01);
  EXPECT_GE(lowest, 0.25);
  EXPECT_LT(lowest, 0.26);
  EXPECT_LE(highest, 0.75);
  EXPECT_GT(highest, 0.74);
  ASSERT_EQ(batches.size(), 4);
  for (const auto& [batch, count] : batches) EXPECT_NEAR(count, kTrials / 4, 130) << batch;
  EXPECT_NEAR(decays["some"], kTrials / 2, 150);
}

// Ten more trials leave the first ones, and another parameter the others, as they were.
TEST(TrialsTest, DrawsDependOnTheirOwnNumberAlone) {
  Ablation ablation;
  ASSERT_TRUE(TextProtoSource::Parse("text", kSearch, &ablation).ok());
  Search longer = ablation.search();
  longer.set_trials(40);
  longer.mutable_parameter()->RemoveLast();
  std::vector<std::string> values = DrawnValues(ablation.search(), 7);
  values.pop_back();
  EXPECT_EQ(DrawnValues(longer, 7), values);
  longer.set_seed(1);
  EXPECT_NE(DrawnValues(longer, 7), values);
}

TEST(TrialsTest, NarrowRangesAreNotLeft) {
  Search search;
  SearchParameter::Range& range = *search.add_parameter()->mutable_uniform();
  range.set_from(0.12345678);
  range.set_to(0.1234568);
  for (int64_t trial = 0; trial < 50; ++trial) {
    double value = 0;
    ASSERT_TRUE(absl::SimpleAtod(DrawnValues(search, trial)[0], &value));
    EXPECT_GE(value, range.from());
    EXPECT_LE(value, range.to());
  }
}

TEST(TrialsTest, NamesDoNotDependOnHowManyThereAre) {
  EXPECT_EQ(TrialName(0), "trial_000");
  EXPECT_EQ(TrialName(42), "trial_042");
  EXPECT_EQ(TrialName(1234), "trial_1234");
}

TEST(TrialsTest, RungsGrowByTheReduction) {
  Search search;
  search.set_first_epochs(1);
  search.set_reduction(3);
  EXPECT_THAT(Rungs(search, 9), ElementsAre(1, 3, 9));
  EXPECT_THAT(Rungs(search, 10), ElementsAre(1, 3, 10));
  EXPECT_THAT(Rungs(search, 8), ElementsAre(1, 8));
  EXPECT_THAT(Rungs(search, 2), ElementsAre(2));
  EXPECT_THAT(Rungs(search, 1), ElementsAre(1));
  search.set_first_epochs(5);
  search.set_reduction(2);
  EXPECT_THAT(Rungs(search, 40), ElementsAre(5, 10, 20, 40));
  search.set_trials(30);
  search.set_first_epochs(1);
  search.set_reduction(3);
  EXPECT_EQ(ExpectedEpochs(search, 9), 30 * 1 + 10 * 2 + 3 * 6);
}

// What the search writes into its folder contains its trials, and is the same search again.
TEST(TrialsTest, TheWrittenAblationLoadsAgain) {
  const absl::StatusOr<LoadedAblation> loaded = Load(absl::StrCat(kBase, kSearch));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const std::string text = PrettyText(loaded->ablation);
  const absl::StatusOr<LoadedAblation> again = Load(text);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(PrettyText(again->ablation), text);
  const absl::StatusOr<std::vector<Arm>> arms = ArmsAsWritten(text);
  ASSERT_TRUE(arms.ok()) << arms.status();
  ASSERT_EQ(arms->size(), 30);
  EXPECT_EQ(PrettyText((*arms)[3].config), PrettyText(loaded->arms[3].config));
  EXPECT_THAT(ErrorOf(text, "search { seed: 5 }"), HasSubstr("factor: does not go with search"));
}

TEST(TrialsTest, MistakesNameTheirPlaceAndWhatWouldBeRight) {
  struct Case {
    std::string search, error;
  };
  const std::string learning_rate = "parameter { field: 'training.sgd.learning_rate' uniform { from: 0.1 to: 0.2 } }";
  const std::vector<Case> cases = {
      {"", "search: has no trials; say how many to try, e.g. trials: 30"},
      {"trials: 1", "search.trials: is 1; must be from 2 to 10000"},
      {"trials: 9 reduction: 1 " + learning_rate, "search.reduction: is 1; must be from 2 to 1000"},
      {"trials: 9",
       "search: has no parameter; say what differs between trials, e.g. parameter { field: "
       "\"training.sgd.learning_rate\" log_uniform { from: 0.01 to: 0.5 } }"},
      {"trials: 9 parameter { field: 'training.sgd.learning_rate' }",
       "search.parameter[0]: has no values; give it a range, e.g. log_uniform { from: 0.01 to: 0.5 }, or a choice"},
      {"trials: 9 parameter { uniform { from: 0 to: 1 } }",
       "search.parameter[0].field: is not set; name a field of the base, e.g. field: \"training.sgd.learning_rate\""},
      {"trials: 9 parameter { field: 'pruning.rate' uniform { from: 0.5 to: 0.5 } }",
       "search.parameter[0].uniform: goes from 0.5 to 0.5; must be finite numbers, the first below the second"},
      {"trials: 9 parameter { field: 'pruning.rate' log_uniform { from: 0 to: 0.5 } }",
       "search.parameter[0].log_uniform.from: is 0; a logarithm needs it above 0"},
      {"trials: 9 parameter { field: 'pruning.rates' uniform { from: 0 to: 0.5 } }",
       "search.parameter[0].field: \"pruning.rates\": DynamicL1 has no field \"rates\"; it has rate, "},
      {"trials: 9 parameter { field: 'training.batch_size' uniform { from: 16 to: 64 } }",
       "search.parameter[0].field: \"training.batch_size\" is a whole number; draw it from whole { from: 1 to: 5 }"},
      {"trials: 9 parameter { field: 'training.horizontal_flip' uniform { from: 0 to: 1 } }",
       "search.parameter[0].field: \"training.horizontal_flip\" is no number; use a choice, whose levels have patches"},
      {"trials: 9 parameter { field: 'phase.epochs' whole { from: 1 to: 4 } }",
       "search.parameter[0].field: \"phase\" is a list; use a choice, whose levels have patches"},
      {"trials: 9 parameter { name: 'a' choice { level { name: 'x' } } }",
       "search.parameter[0].choice: has 1 levels; must have at least two to choose from"},
      {"trials: 9 " + learning_rate + learning_rate,
       "search.parameter[1]: is called \"learning_rate\", as one before; give it a name of its own"},
      {"trials: 9 target { latency: 0.5 } " + learning_rate,
       "search.target.latency: is no target of a search; set macs or parameters"},
      {"trials: 9 hours: 0 " + learning_rate, "search.hours: is 0; must be above 0"},
      {"trials: 9 first_epochs: 10 " + learning_rate,
       "search.first_epochs: is 10; must be from 1 to the 9 epochs of training"},
      {"trials: 8 " + learning_rate,
       "search.trials: is 8, of which none would be trained to the end: one in 3 goes on after 1, 3, 9 epochs; must be "
       "at "
       "least 9, or use a larger first_epochs"},
      {"trials: 9 parameter { field: 'training.epochs' whole { from: 1 to: 9 } }", "search: has trials of "},
  };
  for (const Case& one : cases) {
    EXPECT_THAT(ErrorOf(absl::StrCat(kBase, "search { ", one.search, " }")), HasSubstr(one.error)) << one.search;
  }
  const std::string good = absl::StrCat(kBase, kSearch);
  EXPECT_THAT(ErrorOf(good, "base { training { adamw {} } }"),
              HasSubstr("search.parameter[0].field: \"training.sgd\" would take the place of \"adamw\", which is set "
                        "beside it; name a field of that, or leave it out"));
  EXPECT_THAT(ErrorOf(absl::StrReplaceAll(good, {{"validation_fraction: 0.2", ""}})),
              HasSubstr("base.training.validation_fraction: is 0, but a search compares its trials on validation data; "
                        "give it e.g. 0.1"));
  EXPECT_THAT(ErrorOf(good + "factor { name: 'a' level { name: 'b' } }"),
              HasSubstr("factor: does not go with search, whose arms are its trials"));
  EXPECT_THAT(ErrorOf(good + "comparison { treatment: 'trial_000' control: 'trial_001' }"),
              HasSubstr("comparison: does not go with search"));
  EXPECT_THAT(ErrorOf(good, "base { training { evaluate_every: 2 } }"),
              HasSubstr("search: compares trials after 1 epochs, but training.evaluate_every is 2; make it a divisor"));
}

// A value that is drawn wrongly is the range's mistake, which is told once.
TEST(TrialsTest, AWrongDrawIsTheRangesMistake) {
  const std::string text =
      absl::StrReplaceAll(absl::StrCat(kBase, kSearch), {{"from: 0.25 to: 0.75", "from: 1 to: 2"}});
  const std::string error = ErrorOf(text);
  EXPECT_THAT(error, testing::ContainsRegex("search.textproto:14:[0-9]+: pruning.rate: is 1\\.[0-9]+; must be in"));
  EXPECT_EQ(std::count(error.begin(), error.end(), '\n'), 0) << error;
  const std::string chosen = absl::StrReplaceAll(absl::StrCat(kBase, kSearch), {{"weight_decay: 1e-4", "momentum: 2"}});
  EXPECT_THAT(ErrorOf(chosen), testing::ContainsRegex("search.textproto:18:[0-9]+: training.sgd.momentum: is 2"));
}

TEST(TrialsTest, APatchGoesIntoThePluginThatIsThere) {
  const absl::StatusOr<LoadedAblation> loaded = Load(absl::StrCat(kBase, kSearch));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  const RunConfig& config = loaded->arms[0].config;
  EXPECT_EQ(PatchText(config, "pruning.rate", "0.5", false).value(),
            "pruning { [type.googleapis.com/prunelab.DynamicL1] { rate: 0.5 } }");
  EXPECT_EQ(PatchText(loaded->ablation.base(), "training.schedule.step.gamma", "0.5", false).value(),
            "training { schedule { step { gamma: 0.5 } } }");
  EXPECT_THAT(std::string(PatchText(RunConfig(), "pruning.rate", "0.5", false).status().message()),
              HasSubstr("\"pruning\" is not set in the base, so that nothing is known of its field \"rate\""));
  EXPECT_FALSE(PatchText(config, "training.sgd", "1", false).ok());
  EXPECT_FALSE(PatchText(config, "", "1", false).ok());
  EXPECT_FALSE(PatchText(config, "training.epochs.x", "1", true).ok());
}

}  // namespace
}  // namespace prunelab
