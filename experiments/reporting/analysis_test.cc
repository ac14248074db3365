// Verdicts from made-up results: which must be better, equivalent or undecided, and what must never happen.
#include "experiments/reporting/analysis.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "experiments/reporting/comparisons_json.h"
#include "experiments/reporting/power_text.h"
#include "experiments/reporting/summary_latex.h"
#include "experiments/reporting/summary_markdown.h"
#include "google/protobuf/text_format.h"
#include "ml/statistics/power.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

Ablation Parse(const std::string& text) {
  Ablation ablation;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &ablation)) << text;
  return ablation;
}

constexpr char kOneComparison[] = R"pb(comparison { treatment: "b" control: "a" metric: TEST_TOP1 margin: 0.005 })pb";

void Add(std::vector<RunResult>& results, const std::string& arm, const std::vector<double>& top1) {
  for (size_t i = 0; i < top1.size(); ++i) {
    RunResult& result = results.emplace_back();
    result.arm = arm;
    result.seed = static_cast<int64_t>(i) + 1;
    result.status = "done";
    result.measures.set_test_top1(top1[i]);
    result.measures.set_test_loss(1 - top1[i]);
    result.measures.set_filter_sparsity(0.6);
    result.measures.set_test_top1_best(0.99);
  }
}

const std::vector<double> kControl = {0.801, 0.805, 0.809, 0.798, 0.802, 0.811, 0.806, 0.803, 0.800, 0.807};

std::vector<double> Plus(std::vector<double> values, double shift, double jitter = 0) {
  for (size_t i = 0; i < values.size(); ++i) values[i] += shift + (i % 2 == 0 ? jitter : -jitter);
  return values;
}

std::vector<ArmFacts> Facts(const std::vector<std::string>& names, MaskKind masks = MaskKind::kFilters) {
  std::vector<ArmFacts> facts;
  for (const std::string& name : names) facts.push_back({name, 10, masks});
  return facts;
}

ComparisonResult JudgeOne(const std::vector<double>& treatment, const std::vector<double>& control,
                          const std::string& text = kOneComparison) {
  std::vector<RunResult> results;
  Add(results, "a", control);
  Add(results, "b", treatment);
  return Analyse(Parse(text), results, Facts({"a", "b"}), nullptr).comparisons.at(0);
}

TEST(AnalysisTest, Better) {
  const ComparisonResult result = JudgeOne(Plus(kControl, 0.02, 0.001), kControl);
  EXPECT_EQ(result.judgement.verdict, "better");
  EXPECT_EQ(result.judgement.p_sign_flip, 2.0 / 1024);
  EXPECT_EQ(result.judgement.p_holm, 2.0 / 1024);
  EXPECT_NEAR(*result.judgement.difference, 0.02, 1e-12);
  EXPECT_GT(result.judgement.interval->low, 0.018);
  EXPECT_EQ(result.judgement.interval->low, result.judgement.interval_95->low);  // Holm's divisor is 1
  EXPECT_THAT(result.sentence, HasSubstr("b is better than a in test top-1: +2.00 points (95 % interval"));
  EXPECT_THAT(result.sentence, HasSubstr("10 seeds"));
}

TEST(AnalysisTest, Worse) { EXPECT_EQ(JudgeOne(Plus(kControl, -0.02, 0.001), kControl).judgement.verdict, "worse"); }

TEST(AnalysisTest, OfALossLessIsBetter) {
  const std::string text = R"pb(comparison { treatment: "b" control: "a" metric: TEST_LOSS })pb";
  EXPECT_EQ(JudgeOne(Plus(kControl, 0.02, 0.001), kControl, text).judgement.verdict, "better");
  EXPECT_EQ(JudgeOne(Plus(kControl, -0.02, 0.001), kControl, text).judgement.verdict, "worse");
}

TEST(AnalysisTest, BetterByLessThanTheMargin) {
  const ComparisonResult result = JudgeOne(Plus(kControl, 0.002, 0.0005), kControl);
  EXPECT_EQ(result.judgement.verdict, "better by less than the margin");
  EXPECT_THAT(result.sentence, HasSubstr("by less than the margin of 0.50 points"));
}

TEST(AnalysisTest, Equivalent) {
  const ComparisonResult result = JudgeOne(Plus(kControl, 0.0001, 0.001), kControl);
  EXPECT_EQ(result.judgement.verdict, "equivalent");
  EXPECT_LE(*result.judgement.p_equivalence, 0.05);
  EXPECT_THAT(result.sentence, HasSubstr("equivalent to a in test top-1 within the margin of 0.50 points"));
}

TEST(AnalysisTest, ARunThatIsTheSameIsEquivalentAndNoBetter) {
  const ComparisonResult result = JudgeOne(kControl, kControl);
  EXPECT_EQ(result.judgement.verdict, "equivalent");
  EXPECT_EQ(result.judgement.p_sign_flip, 1);
  EXPECT_EQ(*result.judgement.difference, 0);
}

TEST(AnalysisTest, WithoutAMarginNothingIsEquivalent) {
  const std::string text = R"pb(comparison { treatment: "b" control: "a" })pb";
  const ComparisonResult result = JudgeOne(kControl, kControl, text);
  EXPECT_EQ(result.judgement.verdict, "no conclusion");
  EXPECT_FALSE(result.judgement.p_equivalence.has_value());
}

TEST(AnalysisTest, NoConclusionSaysHowManySeedsWouldFindTheClaim) {
  // The margin, half a point, is what is to be found where nothing is claimed; d = 0.005 / 0.0205.
  const ComparisonResult result = JudgeOne(Plus(kControl, 0.002, 0.02), kControl);
  EXPECT_EQ(result.judgement.verdict, "no conclusion");
  EXPECT_EQ(result.seeds_to_decide, SeedsToDetect(0.005, *result.judgement.sd, 0.05, 0.8));
  EXPECT_THAT(result.sentence, HasSubstr("seeds would find a difference of 0.50 points with probability 0.8"));
  const ComparisonResult claim = JudgeOne(Plus(kControl, 0.002, 0.02), kControl,
                                          "comparison { treatment: 'b' control: 'a' margin: 0.005 claim: 0.0147 }");
  EXPECT_EQ(claim.seeds_to_decide, SeedsToDetect(0.0147, *claim.judgement.sd, 0.05, 0.8));
  EXPECT_LT(*claim.seeds_to_decide, *result.seeds_to_decide);
  EXPECT_THAT(claim.sentence, HasSubstr("would find a difference of 1.47 points"));
  // The difference that happens to have come out says nothing about how many seeds there should be.
  const ComparisonResult neither =
      JudgeOne(Plus(kControl, 0.002, 0.02), kControl, "comparison { treatment: 'b' control: 'a' }");
  EXPECT_EQ(neither.judgement.verdict, "no conclusion");
  EXPECT_FALSE(neither.seeds_to_decide.has_value());
}

Ablation Chain() {
  return Parse(R"pb(
    comparison { treatment: "b" control: "a" primary: 2 }
    comparison { treatment: "c" control: "a" primary: 1 }
    comparison { treatment: "d" control: "a" }
    contrast {
      name: "both"
      primary: 3
      term { arm: "b" weight: 1 }
      term { arm: "c" weight: 1 }
      term { arm: "a" weight: -2 }
    }
    contrast {
      name: "other"
      term { arm: "b" weight: 1 }
      term { arm: "d" weight: -1 }
    })pb");
}

std::vector<std::string> Verdicts(const Analysis& analysis) {
  std::vector<std::string> verdicts;
  for (const ComparisonResult& comparison : analysis.comparisons) verdicts.push_back(comparison.judgement.verdict);
  return verdicts;
}

// Six seeds can decide one comparison, and not two that share 0.05: the primary ones do not.
TEST(AnalysisTest, PrimaryComparisonsAreTestedInTheirOrderEachAtTheFullLevel) {
  const std::vector<double> six(kControl.begin(), kControl.begin() + 6);
  std::vector<RunResult> results;
  Add(results, "a", six);
  Add(results, "b", Plus(six, 0.02, 0.001));
  Add(results, "c", Plus(six, -0.01, 0.001));
  Add(results, "d", Plus(six, 0.01, 0.001));
  const Analysis analysis = Analyse(Chain(), results, Facts({"a", "b", "c", "d"}), nullptr);
  EXPECT_THAT(Verdicts(analysis), ElementsAre("better", "worse", "no conclusion", "better", "no conclusion"));
  for (const int primary : {0, 1, 3}) {
    const Judgement& judgement = analysis.comparisons[primary].judgement;
    EXPECT_EQ(judgement.p_holm, 2.0 / 64);
    EXPECT_EQ(judgement.holm_divisor, 1);
    EXPECT_THAT(analysis.comparisons[primary].sentence, HasSubstr("p = 0.031, primary;"));
  }
  for (const int other : {2, 4}) EXPECT_EQ(analysis.comparisons[other].judgement.p_holm, 2 * 2.0 / 64);
}

TEST(AnalysisTest, APrimaryComparisonThatIsNotDecidedClosesTheGate) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.0001, 0.02));  // the second
  Add(results, "c", Plus(kControl, 0.02, 0.001));
  Add(results, "d", Plus(kControl, 0.02, 0.001));
  const Analysis analysis = Analyse(Chain(), results, Facts({"a", "b", "c", "d"}), nullptr);
  EXPECT_THAT(Verdicts(analysis),
              ElementsAre("no conclusion", "better", "no conclusion", "no conclusion", "no conclusion"));
  EXPECT_EQ(analysis.comparisons[0].judgement.closed_by, "");
  for (const int closed : {2, 3, 4}) EXPECT_EQ(analysis.comparisons[closed].judgement.closed_by, "b vs. a");
  EXPECT_EQ(analysis.comparisons[2].judgement.p_sign_flip, 2.0 / 1024);  // its numbers are there all the same
  EXPECT_THAT(analysis.comparisons[2].sentence,
              HasSubstr("not tested: b vs. a, which comes before it, showed no difference"));
  EXPECT_FALSE(analysis.comparisons[2].seeds_to_decide.has_value());
  const Json json = Json::parse(ComparisonsJson(analysis));
  EXPECT_EQ(json[2]["closed_by"], "b vs. a");
  EXPECT_EQ(json[0]["primary"], 2);
}

// Where no difference is found, the level is spent, whatever else is shown: else five true nulls would give one false
// alarm in four ablations.
TEST(AnalysisTest, AnEquivalenceClosesTheGate) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.0001, 0.001));
  Add(results, "c", Plus(kControl, 0.02, 0.001));
  const Ablation ablation = Parse(R"pb(comparison { treatment: "b" control: "a" primary: 1 margin: 0.005 }
                                       comparison { treatment: "c" control: "a" primary: 2 })pb");
  EXPECT_THAT(Verdicts(Analyse(ablation, results, Facts({"a", "b", "c"}), nullptr)),
              ElementsAre("equivalent", "no conclusion"));
}

TEST(AnalysisTest, AManipulationThatFailedLeavesTheQuestionUntested) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  for (RunResult& result : results) {
    result.measures.set_mean_abs_rho(result.arm == "a" ? 0.4 : 0.3 + 0.001 * static_cast<double>(result.seed));
  }
  const auto judged = [&](const std::string& check) {
    return Analyse(
               Parse("comparison { treatment: 'b' control: 'a' manipulation { metric: MEAN_ABS_RHO " + check + " } }"),
               results, Facts({"a", "b"}), nullptr)
        .comparisons[0];
  };
  const ComparisonResult held = judged("at_most: 0.8");
  EXPECT_EQ(held.judgement.verdict, "better");
  EXPECT_NEAR(*held.manipulations[0].ratio, 0.3055 / 0.4, 1e-12);
  const ComparisonResult failed = judged("at_most: 0.5");
  EXPECT_EQ(failed.judgement.verdict, "could not be tested");
  EXPECT_THAT(failed.sentence,
              HasSubstr("mean |rho| of b is 0.764 times that of a over 10 seeds; at most 0.5 was asked"));
  EXPECT_EQ(judged("at_least: 0.7").judgement.verdict, "better");
  EXPECT_EQ(judged("at_least: 0.8").judgement.verdict, "could not be tested");
  // Other arms than those compared; and values that are missing.
  EXPECT_EQ(judged("at_most: 1.5 treatment: 'a' control: 'b'").judgement.verdict, "better");
  for (RunResult& result : results) result.measures.clear_mean_abs_rho();
  const ComparisonResult unknown = judged("at_most: 0.8");
  EXPECT_EQ(unknown.judgement.verdict, "could not be tested");
  EXPECT_THAT(unknown.sentence, HasSubstr("mean |rho| of b and a is not known"));
}

TEST(AnalysisTest, MeasuresThatAreNeitherGoodNorBad) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", kControl);
  for (RunResult& result : results) {
    result.measures.set_live_filter_norm((result.arm == "a" ? 1 : 3) + 0.01 * static_cast<double>(result.seed));
  }
  const std::string text = "comparison { treatment: 'b' control: 'a' metric: LIVE_FILTER_NORM }";
  const ComparisonResult result = Analyse(Parse(text), results, Facts({"a", "b"}), nullptr).comparisons[0];
  EXPECT_EQ(result.judgement.verdict, "higher");
  EXPECT_THAT(result.sentence, HasSubstr("b is higher than a in norm of live filters"));
}

// Three equivalences at p = 0.03 and below share 0.05.
TEST(AnalysisTest, EquivalencesAreCorrectedOverAllOfThem) {
  const std::string one = "comparison { treatment: 'b' control: 'a' margin: 0.005 }";
  const std::string three = one + " comparison { treatment: 'c' control: 'a' margin: 0.005 }" +
                            " comparison { treatment: 'd' control: 'a' margin: 0.005 }";
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  for (const char* arm : {"b", "c", "d"}) Add(results, arm, Plus(kControl, 0.0005, 0.0068));
  const std::vector<ArmFacts> facts = Facts({"a", "b", "c", "d"});
  const ComparisonResult alone = Analyse(Parse(one), results, facts, nullptr).comparisons[0];
  const double p = *alone.judgement.p_equivalence;
  ASSERT_TRUE(p > 0.05 / 3 && p < 0.05) << p;
  EXPECT_EQ(alone.judgement.verdict, "equivalent");
  for (const ComparisonResult& result : Analyse(Parse(three), results, facts, nullptr).comparisons) {
    EXPECT_EQ(*result.judgement.p_equivalence, p);
    EXPECT_NEAR(result.judgement.p_equivalence_holm, 3 * p, 1e-12);
    EXPECT_EQ(result.judgement.verdict, "no conclusion");
  }
}

// A primary comparison's difference is tested at the full level; its equivalence belongs to the family of all.
TEST(AnalysisTest, EquivalencesOfPrimaryComparisonsAreCorrectedToo) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  for (const char* arm : {"c", "d"}) Add(results, arm, Plus(kControl, 0.0005, 0.0068));
  const std::string text = R"(comparison { treatment: 'b' control: 'a' primary: 1 }
                              comparison { treatment: 'c' control: 'a' primary: 2 margin: 0.005 })";
  const std::vector<ArmFacts> facts = Facts({"a", "b", "c", "d"});
  const ComparisonResult alone = Analyse(Parse(text), results, facts, nullptr).comparisons[1];
  EXPECT_EQ(alone.judgement.verdict, "equivalent");
  const double p = *alone.judgement.p_equivalence;
  EXPECT_EQ(alone.judgement.p_equivalence_holm, p);
  const std::string more = text + " comparison { treatment: 'd' control: 'a' margin: 0.005 }";
  const ComparisonResult beside = Analyse(Parse(more), results, facts, nullptr).comparisons[1];
  EXPECT_EQ(*beside.judgement.p_equivalence, p);
  EXPECT_NEAR(beside.judgement.p_equivalence_holm, 2 * p, 1e-12);
  EXPECT_EQ(beside.judgement.verdict, "no conclusion");
}

// A comparison of three pairs, or of different measures of sparsity, cannot be decided: it costs the others nothing.
TEST(AnalysisTest, WhatCannotBeDecidedSpendsNothingOfTheLevel) {
  const std::vector<double> six(kControl.begin(), kControl.begin() + 6), three(kControl.begin(), kControl.begin() + 3);
  std::vector<RunResult> results;
  Add(results, "a", six);
  Add(results, "b", Plus(six, 0.02, 0.001));
  Add(results, "c", Plus(three, 0.02, 0.001));
  Add(results, "d", Plus(six, 0.02, 0.001));
  std::vector<ArmFacts> facts = Facts({"a", "b", "c", "d"});
  facts[3].masks = MaskKind::kWeights;
  const Ablation ablation = Parse(R"pb(comparison { treatment: "c" control: "a" }
                                       comparison { treatment: "b" control: "a" }
                                       comparison { treatment: "d" control: "a" })pb");
  const Analysis analysis = Analyse(ablation, results, facts, nullptr);
  EXPECT_THAT(Verdicts(analysis), ElementsAre("no conclusion", "better", "no conclusion"));
  EXPECT_EQ(analysis.comparisons[1].judgement.p_holm, 2.0 / 64);
  EXPECT_EQ(analysis.comparisons[0].judgement.p_holm, 2.0 / 8);
  // With more seeds it would share the level with the other one: 7 is the least.
  EXPECT_THAT(analysis.comparisons[0].sentence, HasSubstr("7 is the least that can"));
}

TEST(AnalysisTest, AnotherPlanIsNoPlan) {
  const Ablation ablation = Chain();
  for (const ComparisonResult& comparison : WantedComparisons(ablation)) EXPECT_TRUE(WasPlanned(comparison, ablation));
  Ablation planned = ablation;
  planned.mutable_comparison(0)->clear_primary();
  EXPECT_FALSE(WasPlanned(WantedComparisons(ablation)[0], planned));
  planned = ablation;
  planned.mutable_contrast(1)->add_manipulation()->set_at_most(0.5);
  EXPECT_FALSE(WasPlanned(WantedComparisons(ablation)[4], planned));
}

// A comparison that Holm's procedure does not reach has an interval that says so, too.
TEST(AnalysisTest, AnIntervalBesideNoConclusionHoldsZero) {
  const std::vector<double> control(kControl.begin(), kControl.begin() + 7);
  std::vector<RunResult> results;
  Add(results, "a", control);
  std::vector<double> nearly = Plus(control, 0.02, 0.001);
  nearly[0] = control[0] - 0.0001;  // p = 4 / 128, 0.0625 by the first place of two
  Add(results, "b", nearly);
  std::vector<double> more = Plus(control, 0.02, 0.001);
  more[1] = control[1] - 0.0002;
  more[2] = control[2] + 0.0001;  // p = 6 / 128, below 0.05 by the second place
  Add(results, "c", more);
  const Ablation ablation = Parse(R"pb(comparison { treatment: "b" control: "a" }
                                       comparison { treatment: "c" control: "a" })pb");
  const Analysis analysis = Analyse(ablation, results, Facts({"a", "b", "c"}), nullptr);
  for (const ComparisonResult& comparison : analysis.comparisons) {
    EXPECT_EQ(comparison.judgement.verdict, "no conclusion");
    EXPECT_EQ(comparison.judgement.holm_divisor, 2);
    EXPECT_LE(comparison.judgement.interval->low, 0) << comparison.sentence;
    EXPECT_GE(comparison.judgement.interval->high, 0);
  }
  EXPECT_EQ(analysis.comparisons[0].judgement.p_sign_flip, 4.0 / 128);
  EXPECT_EQ(analysis.comparisons[1].judgement.p_sign_flip, 6.0 / 128);
}

TEST(AnalysisTest, BeyondThirtyTwoSeedsTheVerdictAndItsIntervalAgree) {
  int64_t better = 0;
  for (int sample = 0; sample < 12; ++sample) {
    std::vector<double> control, treatment;
    for (int i = 0; i < 33 + sample; ++i) {
      control.push_back(0.8 + 0.01 * std::sin(1.0 + i * (3 + sample)));
      treatment.push_back(control.back() + 0.01 * std::sin(2.0 + i * (5 + sample)) + 0.0023 + 0.0001 * sample);
    }
    const ComparisonResult result = JudgeOne(treatment, control, "comparison { treatment: 'b' control: 'a' }");
    const Judgement& judgement = result.judgement;
    EXPECT_GT(judgement.p_standard_error, 0);
    EXPECT_EQ(judgement.interval->low > 0 || judgement.interval->high < 0, judgement.verdict != "no conclusion");
    better += judgement.verdict == "better";
  }
  EXPECT_GT(better, 0);
}

TEST(AnalysisTest, FewSeedsNeverDecide) {
  for (size_t n = 1; n <= 5; ++n) {
    const std::vector<double> control(kControl.begin(), kControl.begin() + static_cast<int64_t>(n));
    const ComparisonResult result = JudgeOne(Plus(control, 0.1, 0.0001), control);
    EXPECT_EQ(result.judgement.verdict, "no conclusion") << n;
    EXPECT_TRUE(std::isinf(result.judgement.interval->low)) << n;
    EXPECT_THAT(result.sentence, HasSubstr("cannot decide whatever they show; 6 is the least that can")) << n;
  }
  const std::vector<double> six(kControl.begin(), kControl.begin() + 6);
  EXPECT_EQ(JudgeOne(Plus(six, 0.1, 0.0001), six).judgement.verdict, "better");
}

TEST(AnalysisTest, HolmCountsAllComparisonsAndContrasts) {
  std::string text;
  for (const char* metric : {"TEST_TOP1", "TEST_LOSS", "FILTER_SPARSITY"}) {
    text += std::string("comparison { treatment: 'b' control: 'a' margin: 0.005 metric: ") + metric + " }\n";
  }
  const std::vector<double> six(kControl.begin(), kControl.begin() + 6);
  const ComparisonResult result = JudgeOne(Plus(six, 0.1, 0.0001), six, text);
  EXPECT_EQ(result.judgement.holm_divisor, 3);
  EXPECT_EQ(result.judgement.p_holm, 3 * 2.0 / 64);
  EXPECT_EQ(result.judgement.verdict, "no conclusion");
  EXPECT_TRUE(std::isinf(result.judgement.interval->high));
  EXPECT_FALSE(std::isinf(result.judgement.interval_95->high));
}

TEST(AnalysisTest, UnpairedSeedsAreLeftOutOfThePairs) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  results.erase(results.begin() + 2);   // a's seed 3
  results.erase(results.begin() + 17);  // b's seed 9
  const ComparisonResult result = Analyse(Parse(kOneComparison), results, Facts({"a", "b"}), nullptr).comparisons[0];
  EXPECT_EQ(result.judgement.n_control, 9);
  EXPECT_EQ(result.judgement.n_treatment, 9);
  EXPECT_EQ(result.judgement.pairs, 8);
}

TEST(AnalysisTest, NoRunsAtAll) {
  const Analysis analysis = Analyse(Parse(kOneComparison), {}, Facts({"a", "b"}), nullptr);
  EXPECT_EQ(analysis.comparisons[0].judgement.verdict, "no conclusion");
  EXPECT_THAT(analysis.comparisons[0].sentence, HasSubstr("no seed has a value in every arm"));
  const Json json = Json::parse(ComparisonsJson(analysis));
  EXPECT_TRUE(json[0]["difference"].is_null());
  EXPECT_TRUE(json[0]["p_holm"].is_null());
}

TEST(AnalysisTest, NeverAcrossMeasuresOfSparsity) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  const std::vector<ArmFacts> facts = {{"a", 10, MaskKind::kFilters}, {"b", 10, MaskKind::kWeights}};
  const ComparisonResult result = Analyse(Parse(kOneComparison), results, facts, nullptr).comparisons[0];
  EXPECT_EQ(result.judgement.verdict, "no conclusion");
  EXPECT_THAT(result.sentence, HasSubstr("one side masks filters, the other single weights"));
  EXPECT_FALSE(result.seeds_to_decide.has_value());
}

// An arm whose phases mask both can only be compared with arms of the same kind.
TEST(AnalysisTest, FiltersAndWeightsInOneRunAreAMeasureOfTheirOwn) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  const auto verdict = [&](MaskKind a, MaskKind b) {
    return Analyse(Parse(kOneComparison), results, {{"a", 10, a}, {"b", 10, b}}, nullptr).comparisons[0];
  };
  const ComparisonResult filters = verdict(MaskKind::kFilters, MaskKind::kBoth);
  EXPECT_EQ(filters.judgement.verdict, "no conclusion");
  EXPECT_THAT(filters.sentence, HasSubstr("one side masks filters, the other filters and single weights"));
  EXPECT_THAT(verdict(MaskKind::kBoth, MaskKind::kWeights).sentence,
              HasSubstr("one side masks single weights, the other filters and single weights"));
  for (const MaskKind other : {MaskKind::kBoth, MaskKind::kNone, MaskKind::kUnknown}) {
    EXPECT_EQ(verdict(MaskKind::kBoth, other).judgement.verdict, "better");
  }
}

// (b - a) - (d - c): the differences are each within one measure.
constexpr char kInteraction[] = R"pb(
  contrast {
    name: "interaction"
    metric: TEST_TOP1
    margin: 0.005
    term { arm: "b" weight: 1 }
    term { arm: "a" weight: -1 }
    term { arm: "d" weight: -1 }
    term { arm: "c" weight: 1 }
  }
)pb";

TEST(AnalysisTest, AnInteractionOfTwoMeasuresIsJudged) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  Add(results, "c", kControl);
  Add(results, "d", Plus(kControl, 0.005, -0.001));
  const std::vector<ArmFacts> facts = {{"a", 10, MaskKind::kFilters},
                                       {"b", 10, MaskKind::kFilters},
                                       {"c", 10, MaskKind::kWeights},
                                       {"d", 10, MaskKind::kWeights}};
  const Analysis analysis = Analyse(Parse(kInteraction), results, facts, nullptr);
  const ComparisonResult& result = analysis.comparisons[0];
  EXPECT_EQ(result.judgement.verdict, "better");
  EXPECT_NEAR(*result.judgement.difference, 0.015, 1e-12);
  EXPECT_NEAR(*result.judgement.mean_treatment - *result.judgement.mean_control, 0.015, 1e-12);
  EXPECT_EQ(result.judgement.n_treatment, 20);
  EXPECT_TRUE(result.judgement.p_welch.has_value());
  const Json json = Json::parse(ComparisonsJson(analysis));
  EXPECT_EQ(json[0]["contrast"], (Json{{"b", 1.0}, {"a", -1.0}, {"d", -1.0}, {"c", 1.0}}));
  EXPECT_FALSE(json[0].contains("treatment"));
  EXPECT_EQ(json[0]["metric"], "test_top1");
}

TEST(AnalysisTest, DivergedRunsCountAsChanceAndAreLeftOutOfASecondAnalysis) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  results[14].status = "diverged";  // b's seed 5
  results[14].measures.clear_test_top1();
  const Analysis analysis = Analyse(Parse(kOneComparison), results, Facts({"a", "b"}), nullptr);
  const ComparisonResult& result = analysis.comparisons[0];
  EXPECT_EQ(result.diverged, 1);
  EXPECT_EQ(result.judgement.pairs, 10);
  EXPECT_NEAR(*result.judgement.difference, (9 * 0.02 - 0.001 + 0.1 - kControl[4]) / 10, 1e-12);
  EXPECT_EQ(result.judgement.verdict, "no conclusion");
  ASSERT_TRUE(result.without_diverged.has_value());
  EXPECT_EQ(result.without_diverged->pairs, 9);
  EXPECT_EQ(result.without_diverged->verdict, "better");
  EXPECT_THAT(result.sentence, HasSubstr("1 run of its arms diverged and counts as chance; without: better"));
  EXPECT_EQ(analysis.arms[1].done, 9);
  EXPECT_EQ(analysis.arms[1].diverged, 1);
  EXPECT_EQ(analysis.arms[1].measures.at("test_top1").n, 9);
  const Json json = Json::parse(ComparisonsJson(analysis));
  EXPECT_EQ(json[0]["without_diverged"]["verdict"], "better");
}

TEST(AnalysisTest, ADivergedRunThatCanCountAsNothingIsSaidToBeLeftOut) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  for (RunResult& result : results) result.measures.set_live_filter_norm(result.arm == "a" ? 1 : 2);
  for (const int lost : {14, 15}) {
    results[lost].status = "diverged";
    results[lost].measures.clear_test_top1();
  }
  results[14].measures.set_live_filter_norm(std::numeric_limits<float>::quiet_NaN());
  std::vector<ArmFacts> facts = Facts({"a", "b"});
  for (ArmFacts& arm : facts) arm.classes = std::nullopt;
  const ComparisonResult unknown = Analyse(Parse(kOneComparison), results, facts, nullptr).comparisons[0];
  EXPECT_EQ(unknown.judgement.pairs, 8);
  EXPECT_THAT(unknown.sentence, HasSubstr("2 runs of its arms diverged and could not be counted, because the number of "
                                          "classes, which gives chance, is not known here; without: "));
  const std::string norms = "comparison { treatment: 'b' control: 'a' metric: LIVE_FILTER_NORM }";
  const ComparisonResult measured = Analyse(Parse(norms), results, Facts({"a", "b"}), nullptr).comparisons[0];
  EXPECT_EQ(measured.judgement.pairs, 9);
  EXPECT_THAT(measured.sentence, HasSubstr("2 runs of its arms diverged and count as what it measured, but 1 of them "
                                           "could not be counted, because nothing finite was measured; without: "));
}

// Chance has a loss of log(10) = 2.30; seed 5 of the control finished, with a larger one.
TEST(AnalysisTest, ARunThatWasLostIsNeverBetterThanOneThatFinished) {
  const std::string of_loss = R"pb(comparison { treatment: "b" control: "a" metric: TEST_LOSS })pb";
  for (const std::string lost : {"b", "a"}) {
    std::vector<RunResult> results;
    Add(results, "a", kControl);
    Add(results, "b", kControl);
    for (RunResult& result : results) {
      if (result.seed != 5) continue;
      if (result.arm == lost) result.status = "diverged";
      if (result.arm != lost) result.measures.set_test_loss(5);
    }
    const ComparisonResult result = Analyse(Parse(of_loss), results, Facts({"a", "b"}), nullptr).comparisons.at(0);
    EXPECT_EQ(result.judgement.pairs, 10);
    EXPECT_EQ(*result.judgement.difference, 0) << lost;
    EXPECT_THAT(result.sentence, HasSubstr("1 run of its arms diverged and counts as the worst of its runs that "
                                           "finished, which is worse than chance; without: "));
  }
}

// Both arms of accuracies below chance: 0.02 to 0.038, then chance itself where all others are above it.
TEST(AnalysisTest, ALostRunCountsAsTheWorseOfChanceAndTheWorstThatFinished) {
  for (const double base : {0.02, 0.3}) {
    std::vector<RunResult> results;
    std::vector<double> top1;
    for (int i = 0; i < 10; ++i) top1.push_back(base + 0.002 * i);
    Add(results, "a", top1);
    Add(results, "b", top1);
    results[17].status = "diverged";  // b's seed 8, where a has base + 0.014
    const ComparisonResult result =
        Analyse(Parse(kOneComparison), results, Facts({"a", "b"}), nullptr).comparisons.at(0);
    EXPECT_NEAR(*result.judgement.difference, (std::min(base, 0.1) - (base + 0.014)) / 10, 1e-12) << base;
    EXPECT_THAT(result.sentence, HasSubstr(base < 0.1 ? "counts as the worst of its runs that finished"
                                                      : "1 run of its arms diverged and counts as chance; without"));
  }
}

TEST(AnalysisTest, ComparisonsWrittenDownLaterAreLabelled) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", kControl);
  const Ablation planned = Parse(R"pb(comparison { treatment: "b" control: "a" margin: 0.005 })pb");
  const Ablation now = Parse(R"pb(comparison { treatment: "b" control: "a" margin: 0.005 }
                                  comparison { treatment: "b" control: "a" margin: 0.005 metric: TEST_LOSS })pb");
  const Analysis analysis = Analyse(now, results, Facts({"a", "b"}), &planned);
  EXPECT_FALSE(analysis.comparisons[0].added_later);
  EXPECT_TRUE(analysis.comparisons[1].added_later);
  EXPECT_THAT(analysis.comparisons[1].sentence, HasSubstr("Written down after the first run."));
}

TEST(AnalysisTest, TheBestEpochPlaysNoPart) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", kControl);
  for (RunResult& result : results) result.measures.set_test_top1_best(result.arm == "b" ? 0.99 : 0.5);
  const Analysis analysis = Analyse(Parse(kOneComparison), results, Facts({"a", "b"}), nullptr);
  EXPECT_EQ(*analysis.comparisons[0].judgement.difference, 0);
  EXPECT_THAT(ComparisonsJson(analysis), Not(HasSubstr("best")));
}

TEST(AnalysisTest, SummariesAreSafeMarkdownAndLatex) {
  std::vector<RunResult> results;
  Add(results, "a|x_1", kControl);
  Add(results, "<b>&%", Plus(kControl, 0.02, 0.001));
  for (RunResult& result : results) {
    result.measures.set_parameters(100);
    result.measures.set_macs(100);
    result.measures.set_live_parameters(40);
    result.measures.set_live_macs(40);
    result.measures.set_mean_abs_rho(0.1);
    result.measures.set_physical_macs(30);
    result.measures.set_latency_64_dense(0.5);
    result.measures.set_latency_64_removed(0.2);
  }
  const Ablation ablation = Parse(
      R"pb(name: "n_1"
           description: "50 % & more"
           comparison { treatment: "<b>&%" control: "a|x_1" margin: 0.005 })pb");
  const Analysis analysis = Analyse(ablation, results, Facts({"a|x_1", "<b>&%"}), nullptr);
  const std::string markdown = SummaryMarkdown(ablation, analysis, {"note <i>"});
  EXPECT_THAT(markdown, HasSubstr("a\\|x\\_1"));
  EXPECT_THAT(markdown, HasSubstr("&lt;b&gt;"));
  EXPECT_THAT(markdown, Not(HasSubstr("<b>")));
  EXPECT_THAT(markdown, HasSubstr("80.42 +- 0.41"));
  const std::string latex = SummaryLatex(ablation, analysis, {});
  EXPECT_EQ(analysis.arms[0].measures.at("measured_speedup").mean, 2.5);
  EXPECT_THAT(latex, HasSubstr("\\toprule"));
  EXPECT_THAT(latex, HasSubstr("a\\textbar{}x\\_1"));
  EXPECT_THAT(latex, HasSubstr("\\textless{}b\\textgreater{}\\&\\%"));
  EXPECT_THAT(latex, HasSubstr("80.42 $\\pm$ 0.41"));
  // No row of a table has more than eight cells, and every measure is in one of them.
  for (const absl::string_view line : absl::StrSplit(latex, '\n')) {
    const std::string separators = absl::StrReplaceAll(line, {{"\\&", ""}});
    EXPECT_LE(std::count(separators.begin(), separators.end(), '&'), 8) << line;
  }
  for (const char* heading : {"test top-1 (\\%)", "compression ratio (x)", "mean \\textbar{}rho\\textbar{}",
                              "physical MACs", "measured speed-up, batch 64 (x)"}) {
    EXPECT_THAT(latex, HasSubstr(heading));
  }
}

// A mean over fewer runs than the row's is labelled; so is how p came about.
TEST(AnalysisTest, SummariesSayOverHowManyRunsAndByWhatCorrection) {
  std::vector<RunResult> results;
  Add(results, "a", kControl);
  Add(results, "b", Plus(kControl, 0.02, 0.001));
  results[3].measures.set_mean_abs_rho(0.25);
  const Ablation ablation = Parse(kOneComparison);
  const std::string text = SummaryMarkdown(ablation, Analyse(ablation, results, Facts({"a", "b"}), nullptr), {});
  EXPECT_THAT(text, HasSubstr("0.2500 (n = 1)"));
  EXPECT_THAT(text, Not(HasSubstr("(n = 10)")));
  EXPECT_THAT(text, HasSubstr("the exact sign-flip test's, Holm over all comparisons;"));
  const Ablation primary = Parse("comparison { treatment: 'b' control: 'a' primary: 1 }");
  EXPECT_THAT(SummaryMarkdown(primary, Analyse(primary, results, Facts({"a", "b"}), nullptr), {}),
              HasSubstr("the exact sign-flip test's; primary comparisons in their order, then Holm over all others;"));
}

TEST(AnalysisTest, PowerBeforeAnyRun) {
  const Ablation ablation = Parse(kOneComparison);
  EXPECT_THAT(PowerText(ablation, 3, {}, 0), HasSubstr("smallest adjusted p that a comparison can reach is 0.250"));
  EXPECT_THAT(PowerText(ablation, 3, {}, 0), HasSubstr("6 seeds are the least that can"));
  EXPECT_THAT(PowerText(ablation, 10, {}, 0), HasSubstr("1.00 standard deviations"));  // d of a paired t-test, n = 10
  EXPECT_THAT(PowerText(ablation, 10, {}, 0), HasSubstr("give --expected_sd"));
  EXPECT_THAT(PowerText(ablation, 10, {}, 0.01), HasSubstr("1.00 points by --expected_sd"));
  std::vector<RunResult> results;
  Add(results, "a", {0.8, 0.8, 0.8});
  Add(results, "b", {0.80, 0.81, 0.82});
  EXPECT_THAT(PowerText(ablation, 10, results, 0.5), HasSubstr("1.00 points in 3 pairs that are done"));
  EXPECT_EQ(PowerText(Parse("name: 'x'"), 10, {}, 0), "");
  const Ablation primary = Parse("comparison { treatment: 'b' control: 'a' primary: 1 }");
  EXPECT_THAT(PowerText(primary, 5, {}, 0),
              AllOf(HasSubstr("With 5 seeds the smallest p that a comparison can reach is 0.062"),
                    HasSubstr("No primary comparison can come out better or worse, whatever the runs show. 6 seeds")));
  EXPECT_THAT(PowerText(primary, 10, {}, 0), HasSubstr("Detectable: found with probability 0.8 at 0.05.\n"));
}

}  // namespace
}  // namespace prunelab
