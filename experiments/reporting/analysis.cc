#include "experiments/reporting/analysis.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "experiments/records/table.h"
#include "ml/base/check.h"
#include "ml/statistics/bootstrap.h"
#include "ml/statistics/effect_size.h"
#include "ml/statistics/equivalence.h"
#include "ml/statistics/holm.h"
#include "ml/statistics/power.h"
#include "ml/statistics/sign_flip.h"
#include "ml/statistics/t_test.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kAlpha = 0.05;
constexpr double kPower = 0.8;

template <std::optional<double> RunResult::*member>
std::optional<double> Real(const RunResult& result) {
  return result.*member;
}
template <std::optional<int64_t> RunResult::*member>
std::optional<double> Whole(const RunResult& result) {
  if (!(result.*member)) return std::nullopt;
  return static_cast<double>(*(result.*member));
}

template <typename T>
std::optional<double> Ratio(const std::optional<T>& dense, const std::optional<T>& live) {
  if (!dense || !live || *live <= 0) return std::nullopt;
  return static_cast<double>(*dense) / static_cast<double>(*live);
}

// What a run that learned nothing measures, or no value.
std::optional<double> Chance(Metric metric, const std::optional<int64_t>& classes) {
  if (!classes || *classes < 1) return std::nullopt;
  const double n = static_cast<double>(*classes);
  switch (metric) {
    case TEST_TOP1:
    case VALIDATION_TOP1:
      return 1 / n;
    case TEST_TOP5:
      return std::min(1.0, 5 / n);
    case TEST_LOSS:
      return std::log(n);
    default:
      return std::nullopt;
  }
}

bool IsOfAccuracy(Metric metric) {
  return metric == TEST_TOP1 || metric == TEST_TOP5 || metric == TEST_LOSS || metric == VALIDATION_TOP1;
}

// Whether a run can have measured it: runs compute in float32, and the squares of larger numbers are beyond all means.
bool IsMeasured(double value) { return std::abs(value) <= std::numeric_limits<float>::max(); }

// seed -> value of an arm's runs.
using SeedValues = std::map<int64_t, double>;

SeedValues ValuesOf(const std::string& arm, Metric metric, const std::vector<RunResult>& results,
                    const std::vector<ArmFacts>& arms, bool with_diverged) {
  const Measure& measure = MeasureOf(metric);
  const auto facts = std::find_if(arms.begin(), arms.end(), [&](const ArmFacts& a) { return a.name == arm; });
  SeedValues values;
  for (const RunResult& result : results) {
    if (result.arm != arm) continue;
    std::optional<double> value;
    if (result.status == "done") value = measure.value(result);
    if (result.status == "diverged" && with_diverged) {
      if (IsOfAccuracy(metric)) {
        if (facts != arms.end()) value = Chance(metric, facts->classes);
      } else {
        value = measure.value(result);
      }
    }
    if (value && IsMeasured(*value)) values[result.seed] = *value;
  }
  return values;
}

// By the seeds that have a value in every arm.
std::vector<double> PairedDifferences(const ComparisonResult& comparison, const std::vector<SeedValues>& values) {
  std::vector<double> differences;
  for (const auto& [seed, first] : values.front()) {
    double difference = 0;
    bool complete = true;
    for (size_t i = 0; i < values.size() && complete; ++i) {
      const auto found = values[i].find(seed);
      complete = found != values[i].end();
      if (complete) difference += comparison.terms[i].second * found->second;
    }
    if (complete) differences.push_back(difference);
  }
  return differences;
}

// Everything but what the other comparisons have a say in.
Judgement Judge(const ComparisonResult& comparison, const std::vector<SeedValues>& values) {
  Judgement judgement;
  std::vector<std::vector<double>> samples;
  std::vector<double> weights;
  double positive = 0, negative = 0;
  bool has_positive = true, has_negative = true;
  for (size_t i = 0; i < values.size(); ++i) {
    const double weight = comparison.terms[i].second;
    weights.push_back(weight);
    samples.emplace_back();
    for (const auto& [seed, value] : values[i]) samples.back().push_back(value);
    const double mean = SummarizeSample(samples.back()).mean;
    (weight > 0 ? judgement.n_treatment : judgement.n_control) += static_cast<int64_t>(values[i].size());
    (weight > 0 ? positive : negative) += std::abs(weight) * mean;
    if (values[i].empty()) (weight > 0 ? has_positive : has_negative) = false;
  }
  if (has_positive) judgement.mean_treatment = positive;
  if (has_negative) judgement.mean_control = negative;
  if (has_positive && has_negative) {
    if (const std::optional<TTest> welch = WelchContrast(samples, weights)) judgement.p_welch = welch->p;
    judgement.hedges_g = HedgesGContrast(samples, weights);
  }
  const std::vector<double> differences = PairedDifferences(comparison, values);
  judgement.pairs = static_cast<int64_t>(differences.size());
  if (differences.empty()) return judgement;
  const SampleSummary summary = SummarizeSample(differences);
  judgement.difference = summary.mean;
  judgement.sd = summary.sd;
  const SignFlipTest test = SignFlip(differences);
  judgement.p_sign_flip = test.p;
  judgement.p_standard_error = test.standard_error;
  judgement.interval_95 = SignFlipInterval(differences, 1 - kAlpha);
  if (const std::optional<double> half = StudentHalfWidth(summary, 1 - kAlpha)) {
    judgement.student_95 = Interval{summary.mean - *half, summary.mean + *half};
  }
  if (const auto bootstrap = BcaInterval(differences, 1 - kAlpha)) judgement.bootstrap_95 = bootstrap->interval;
  if (const auto paired = PairedTTest(differences)) judgement.p_paired_t = paired->p;
  judgement.p_equivalence = PairedEquivalenceP(differences, comparison.margin);
  return judgement;
}

// The interval and the verdict, once Holm has spoken.
void Conclude(const ComparisonResult& comparison, const std::vector<SeedValues>& values, const HolmAdjusted& holm,
              Judgement& judgement) {
  judgement.p_holm = holm.p;
  judgement.holm_divisor = holm.divisor;
  judgement.verdict = "no conclusion";
  if (judgement.pairs == 0) return;
  judgement.interval =
      SignFlipInterval(PairedDifferences(comparison, values), 1 - kAlpha / static_cast<double>(holm.divisor));
  if (!comparison.obstacle.empty()) return;
  if (judgement.p_holm <= kAlpha) {
    const bool higher = *judgement.difference > 0;
    judgement.verdict = higher == MeasureOf(comparison.metric).higher_is_better ? "better" : "worse";
    if (judgement.interval->low > -comparison.margin && judgement.interval->high < comparison.margin) {
      judgement.verdict += " by less than the margin";
    }
  } else if (judgement.p_equivalence && *judgement.p_equivalence <= kAlpha) {
    judgement.verdict = "equivalent";
  }
}

// What an arm masks, in words.
const char* MaskWords(MaskKind kind) {
  switch (kind) {
    case MaskKind::kFilters:
      return "filters";
    case MaskKind::kWeights:
      return "single weights";
    default:
      return "filters and single weights";
  }
}

std::string Obstacle(const ComparisonResult& comparison, const std::vector<ArmFacts>& arms) {
  std::map<MaskKind, double> kinds;  // of those that mask anything, with the sum of their arms' weights
  double size = 0;
  for (const auto& [arm, weight] : comparison.terms) {
    const auto facts =
        std::find_if(arms.begin(), arms.end(), [&, name = arm](const ArmFacts& a) { return a.name == name; });
    if (facts == arms.end()) continue;
    size += std::abs(weight);
    if (facts->masks != MaskKind::kUnknown && facts->masks != MaskKind::kNone) kinds[facts->masks] += weight;
  }
  if (kinds.size() < 2) return "";
  // Differences within one measure may stand against each other.
  const bool balanced =
      std::all_of(kinds.begin(), kinds.end(), [&](const auto& kind) { return std::abs(kind.second) <= 1e-9 * size; });
  if (balanced) return "";
  return absl::StrCat("one side masks ", MaskWords(kinds.begin()->first), ", the other ",
                      MaskWords(std::next(kinds.begin())->first),
                      ", and the same percentage of them is not the same thing");
}

std::string SeedCount(int64_t n) { return n == 1 ? "1 seed" : absl::StrCat(n, " seeds"); }

std::string LevelText(int64_t divisor) {
  return absl::StrCat(absl::StrFormat("%.4g", 100 * (1 - kAlpha / static_cast<double>(divisor))), " % interval");
}

std::string Subject(const ComparisonResult& comparison) {
  if (comparison.is_contrast) return absl::StrCat("The contrast \"", comparison.title, "\"");
  return comparison.terms[0].first;
}

std::string Sentence(const ComparisonResult& comparison) {
  const Measure& measure = MeasureOf(comparison.metric);
  const Judgement& judgement = comparison.judgement;
  const std::string& control = comparison.terms.back().first;
  std::string text;
  if (judgement.pairs == 0) {
    text = absl::StrCat("No conclusion on ", comparison.title, " in ", measure.label,
                        ": no seed has a result in every arm of it yet.");
  } else {
    const std::string numbers =
        absl::StrCat(DifferenceText(measure, *judgement.difference), " (", LevelText(judgement.holm_divisor), " ",
                     IntervalText(measure, judgement.interval), "; p = ", PValueText(judgement.p_holm), " after Holm; ",
                     SeedCount(judgement.pairs), ")");
    const std::string margin = absl::StrCat("the margin of ", DifferenceText(measure, comparison.margin).substr(1));
    const bool less = absl::StrContains(judgement.verdict, "by less");
    const std::string beside = less ? absl::StrCat(", by less than ", margin) : "";
    if (judgement.verdict == "equivalent") {
      text = absl::StrCat(
          comparison.is_contrast
              ? absl::StrCat(Subject(comparison), " of ", measure.label, " is equivalent to 0 within ")
              : absl::StrCat(Subject(comparison), " is equivalent to ", control, " in ", measure.label, " within "),
          margin, " (TOST p = ", PValueText(*judgement.p_equivalence), "): ", numbers, ".");
    } else if (judgement.verdict != "no conclusion") {
      const bool better = judgement.verdict[0] == 'b';
      const bool higher = *judgement.difference > 0;
      text = comparison.is_contrast
                 ? absl::StrCat(Subject(comparison), " of ", measure.label, " is ", higher ? "above" : "below",
                                " 0: ", better ? "better" : "worse", beside, ": ", numbers, ".")
                 : absl::StrCat(Subject(comparison), " is ", better ? "better" : "worse", " than ", control, " in ",
                                measure.label, beside, ": ", numbers, ".");
    } else {
      text = absl::StrCat("No conclusion on ", comparison.title, " in ", measure.label, ": ", numbers, ".");
      const double alpha = kAlpha / static_cast<double>(judgement.holm_divisor);
      if (!comparison.obstacle.empty()) {
        absl::StrAppend(&text, " No number of seeds would decide: ", comparison.obstacle, ".");
      } else if (SmallestSignFlipP(judgement.pairs) > alpha) {
        absl::StrAppend(&text, " ", SeedCount(judgement.pairs), " cannot decide whatever they show; ",
                        SeedsToReach(alpha), " is the least that can.");
      }
      if (comparison.seeds_to_decide) {
        absl::StrAppend(&text, " About ", SeedCount(*comparison.seeds_to_decide),
                        " would decide, if difference and spread stay as they are.");
      }
    }
  }
  if (comparison.diverged > 0) {
    absl::StrAppend(&text, " ", comparison.diverged, comparison.diverged == 1 ? " run" : " runs",
                    " of its arms diverged and ", comparison.diverged == 1 ? "counts" : "count", " as chance");
    if (comparison.without_diverged) {
      const Judgement& second = *comparison.without_diverged;
      absl::StrAppend(&text, "; without: ", second.verdict);
      if (second.difference) {
        absl::StrAppend(&text, ", ", DifferenceText(measure, *second.difference), ", p = ", PValueText(second.p_holm));
      }
    }
    text += ".";
  }
  if (comparison.added_later) text += " Written down after the first run.";
  return text;
}

// Whether the ablation as it was before the first run held the comparison.
bool WasPlanned(const ComparisonResult& comparison, const Ablation& planned) {
  for (const Comparison& other : planned.comparison()) {
    if (!comparison.is_contrast && other.treatment() == comparison.terms[0].first &&
        other.control() == comparison.terms[1].first && other.metric() == comparison.metric &&
        other.margin() == comparison.margin) {
      return true;
    }
  }
  for (const Contrast& other : planned.contrast()) {
    if (!comparison.is_contrast || other.metric() != comparison.metric || other.margin() != comparison.margin) continue;
    std::map<std::string, double> terms;
    for (const Contrast::Term& term : other.term()) terms[term.arm()] = term.weight();
    if (terms == std::map<std::string, double>(comparison.terms.begin(), comparison.terms.end())) return true;
  }
  return false;
}

// What the ablation wants compared, without results.
std::vector<ComparisonResult> Wanted(const Ablation& ablation) {
  std::vector<ComparisonResult> wanted;
  for (const Comparison& comparison : ablation.comparison()) {
    ComparisonResult& result = wanted.emplace_back();
    result.title = absl::StrCat(comparison.treatment(), " vs. ", comparison.control());
    result.terms = {{comparison.treatment(), 1.0}, {comparison.control(), -1.0}};
    result.metric = comparison.metric();
    result.margin = comparison.margin();
  }
  for (const Contrast& contrast : ablation.contrast()) {
    if (contrast.term().empty()) continue;
    ComparisonResult& result = wanted.emplace_back();
    result.title = contrast.name();
    result.is_contrast = true;
    for (const Contrast::Term& term : contrast.term()) result.terms.emplace_back(term.arm(), term.weight());
    result.metric = contrast.metric();
    result.margin = contrast.margin();
  }
  return wanted;
}

// Fills in the judgements of all comparisons, with or without the diverged runs.
std::vector<Judgement> JudgeAll(const std::vector<ComparisonResult>& comparisons, const std::vector<RunResult>& results,
                                const std::vector<ArmFacts>& arms, bool with_diverged) {
  std::vector<std::vector<SeedValues>> values;
  std::vector<Judgement> judgements;
  std::vector<double> p;
  for (const ComparisonResult& comparison : comparisons) {
    values.emplace_back();
    for (const auto& [arm, weight] : comparison.terms) {
      values.back().push_back(ValuesOf(arm, comparison.metric, results, arms, with_diverged));
    }
    judgements.push_back(Judge(comparison, values.back()));
    p.push_back(judgements.back().p_sign_flip);
  }
  const std::vector<HolmAdjusted> holm = Holm(p, kAlpha);
  for (size_t i = 0; i < comparisons.size(); ++i) Conclude(comparisons[i], values[i], holm[i], judgements[i]);
  return judgements;
}

std::optional<int64_t> SeedsToDecide(const ComparisonResult& comparison) {
  const Judgement& judgement = comparison.judgement;
  if (judgement.verdict != "no conclusion" || !comparison.obstacle.empty() || !judgement.sd) return std::nullopt;
  const double alpha = kAlpha / static_cast<double>(judgement.holm_divisor);
  // Those that are there have not decided, though with their spread another sample of as many might.
  const int64_t least = judgement.pairs + 1;
  const std::optional<int64_t> different = SeedsToDetect(*judgement.difference, *judgement.sd, alpha, kPower);
  const std::optional<int64_t> equivalent =
      SeedsForEquivalence(*judgement.difference, comparison.margin, *judgement.sd, kPower);
  if (!different && !equivalent) return std::nullopt;
  const int64_t fewest = !different ? *equivalent : !equivalent ? *different : std::min(*different, *equivalent);
  return std::max(least, fewest);
}

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Number(const std::optional<double>& value) { return value ? Number(*value) : Json(nullptr); }

void AddInterval(Json& json, const std::string& name, const std::optional<Interval>& interval) {
  json[name + "_low"] = interval ? Number(interval->low) : Json(nullptr);
  json[name + "_high"] = interval ? Number(interval->high) : Json(nullptr);
}

void AddJudgement(Json& json, const Judgement& judgement, double margin) {
  json["n_treatment"] = judgement.n_treatment;
  json["n_control"] = judgement.n_control;
  json["n_pairs"] = judgement.pairs;
  json["mean_treatment"] = Number(judgement.mean_treatment);
  json["mean_control"] = Number(judgement.mean_control);
  json["difference"] = Number(judgement.difference);
  json["sd_difference"] = Number(judgement.sd);
  AddInterval(json, "ci", judgement.interval);
  AddInterval(json, "ci95", judgement.interval_95);
  AddInterval(json, "student95", judgement.student_95);
  AddInterval(json, "bootstrap95", judgement.bootstrap_95);
  json["p_sign_flip"] = judgement.pairs > 0 ? Json(judgement.p_sign_flip) : Json(nullptr);
  json["p_sign_flip_error"] = judgement.p_standard_error;
  json["p_holm"] = judgement.pairs > 0 ? Json(judgement.p_holm) : Json(nullptr);
  json["holm_divisor"] = judgement.holm_divisor;
  json["p_paired_t"] = Number(judgement.p_paired_t);
  json["p_welch"] = Number(judgement.p_welch);
  json["hedges_g"] = Number(judgement.hedges_g);
  json["margin"] = margin;
  json["p_equivalence"] = Number(judgement.p_equivalence);
  json["verdict"] = judgement.verdict;
}

std::string MarkdownText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"},
                                    {"|", "\\|"},
                                    {"*", "\\*"},
                                    {"_", "\\_"},
                                    {"`", "\\`"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"[", "\\["},
                                    {"\n", " "}});
}

std::string LatexText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\\", "\\textbackslash{}"},
                                    {"&", "\\&"},
                                    {"%", "\\%"},
                                    {"$", "\\$"},
                                    {"#", "\\#"},
                                    {"_", "\\_"},
                                    {"{", "\\{"},
                                    {"}", "\\}"},
                                    {"~", "\\textasciitilde{}"},
                                    {"^", "\\textasciicircum{}"},
                                    {"+-", "$\\pm$"},
                                    {"|", "\\textbar{}"},
                                    {"<", "\\textless{}"},
                                    {">", "\\textgreater{}"},
                                    {"\n", " "}});
}

// "98.89 +- 0.56" in the measure's unit, "-" without a value.
std::string Cell(const ArmSummary& arm, const Measure& measure) {
  const auto found = arm.measures.find(measure.column);
  if (found == arm.measures.end()) return "-";
  const SampleSummary& summary = found->second;
  std::string text = absl::StrFormat("%.*f", measure.digits, summary.mean * measure.scale);
  if (summary.sd && *summary.sd > 0) {
    absl::StrAppend(&text, " +- ", absl::StrFormat("%.*f", measure.digits, *summary.sd * measure.scale));
  }
  return text;
}

// Measures that the summaries show: those in which any arm has a value.
std::vector<const Measure*> ShownMeasures(const Analysis& analysis) {
  std::vector<const Measure*> shown;
  for (const Measure& measure : Measures()) {
    const bool any = std::any_of(analysis.arms.begin(), analysis.arms.end(),
                                 [&](const ArmSummary& arm) { return arm.measures.count(measure.column) > 0; });
    if (any) shown.push_back(&measure);
  }
  return shown;
}

std::string Heading(const Measure& measure) {
  return measure.unit.empty() ? measure.label : absl::StrCat(measure.label, " (", measure.unit, ")");
}

// Rows of text for both summaries: header first.
std::vector<std::vector<std::string>> ComparisonRows(const Analysis& analysis) {
  std::vector<std::vector<std::string>> rows = {
      {"comparison", "metric", "pairs", "difference", "interval", "p", "p (Holm)", "g", "verdict"}};
  for (const ComparisonResult& comparison : analysis.comparisons) {
    const Measure& measure = MeasureOf(comparison.metric);
    const Judgement& judgement = comparison.judgement;
    rows.push_back({comparison.title, measure.label, absl::StrCat(judgement.pairs),
                    judgement.difference ? DifferenceText(measure, *judgement.difference) : "-",
                    IntervalText(measure, judgement.interval),
                    judgement.pairs > 0 ? PValueText(judgement.p_sign_flip) : "-",
                    judgement.pairs > 0 ? PValueText(judgement.p_holm) : "-",
                    judgement.hedges_g ? absl::StrFormat("%.2f", *judgement.hedges_g) : "-", judgement.verdict});
  }
  return rows;
}

std::vector<std::vector<std::string>> ArmRows(const Analysis& analysis) {
  const std::vector<const Measure*> measures = ShownMeasures(analysis);
  std::vector<std::vector<std::string>> rows = {{"arm", "n", "diverged"}};
  for (const Measure* measure : measures) rows[0].push_back(Heading(*measure));
  for (const ArmSummary& arm : analysis.arms) {
    rows.push_back({arm.name, absl::StrCat(arm.done), absl::StrCat(arm.diverged)});
    for (const Measure* measure : measures) rows.back().push_back(Cell(arm, *measure));
  }
  return rows;
}

constexpr char kMethod[] =
    "Last epoch. Differences are paired by seed; p is the exact sign-flip test's, Holm over all comparisons; the "
    "interval "
    "is that test inverted at 1 - 0.05 / (Holm's divisor). g is Hedges' g. Arms: mean +- standard deviation over the "
    "seeds that did not diverge.";

}  // namespace

const std::vector<Measure>& Measures() {
  static const auto* measures = new std::vector<Measure>{
      {"test_top1", "test top-1", "%", 100, 2, true, Real<&RunResult::test_top1>},
      {"test_top5", "test top-5", "%", 100, 2, true, Real<&RunResult::test_top5>},
      {"test_loss", "test loss", "", 1, 4, false, Real<&RunResult::test_loss>},
      {"validation_top1", "validation top-1", "%", 100, 2, true, Real<&RunResult::validation_top1>},
      {"filter_sparsity", "filters masked", "%", 100, 2, true, Real<&RunResult::filter_sparsity>},
      {"weight_sparsity", "conv weights masked", "%", 100, 2, true, Real<&RunResult::weight_sparsity>},
      {"paper_sparsity", "the paper's sparsity", "%", 100, 2, true, Real<&RunResult::paper_sparsity>},
      {"live_parameters", "parameters after removal", "", 1, 0, false, Whole<&RunResult::live_parameters>},
      {"live_macs", "MACs after removal", "", 1, 0, false, Whole<&RunResult::live_macs>},
      {"compression_ratio", "compression ratio", "x", 1, 2, true,
       [](const RunResult& result) { return Ratio(result.parameters, result.live_parameters); }},
      {"theoretical_speedup", "theoretical speed-up", "x", 1, 2, true,
       [](const RunResult& result) { return Ratio(result.macs, result.live_macs); }},
      // Of runs with `compression`.
      {"removed_test_top1", "test top-1 after removal", "%", 100, 2, true, Real<&RunResult::removed_test_top1>},
      {"fine_tuned_test_top1", "test top-1 after removal and fine-tuning", "%", 100, 2, true,
       Real<&RunResult::fine_tuned_test_top1>},
      {"physical_parameters", "physical parameters", "", 1, 0, false, Whole<&RunResult::physical_parameters>},
      {"physical_macs", "physical MACs", "", 1, 0, false, Whole<&RunResult::physical_macs>},
      {"measured_speedup", "measured speed-up, batch 64", "x", 1, 2, true,
       [](const RunResult& result) { return Ratio(result.latency_64_dense, result.latency_64_removed); }},
      {"mean_abs_rho", "mean |rho|", "", 1, 4, false, Real<&RunResult::mean_abs_rho>},
      {"returned_filters", "returned", "", 1, 0, true, Whole<&RunResult::returned_filters>},
  };
  return *measures;
}

std::string MetricColumn(Metric metric) { return absl::AsciiStrToLower(Metric_Name(metric)); }

const Measure& MeasureOf(Metric metric) {
  const std::string column = MetricColumn(metric);
  const auto found = std::find_if(Measures().begin(), Measures().end(),
                                  [&](const Measure& measure) { return measure.column == column; });
  PRUNELAB_CHECK(found != Measures().end()) << column;
  return *found;
}

std::string ValueText(const Measure& measure, double value) {
  const std::string number = absl::StrFormat("%.*f", measure.digits, value * measure.scale);
  return measure.unit.empty() ? number : absl::StrCat(number, " ", measure.unit);
}

std::string DifferenceText(const Measure& measure, double difference) {
  const std::string number = absl::StrFormat("%+.*f", measure.digits, difference * measure.scale);
  return measure.unit == "%" ? absl::StrCat(number, " points") : number;
}

std::string IntervalText(const Measure& measure, const std::optional<Interval>& interval) {
  if (!interval) return "-";
  if (std::isinf(interval->low)) return "unbounded";
  return absl::StrCat(absl::StrFormat("%+.*f", measure.digits, interval->low * measure.scale), " to ",
                      DifferenceText(measure, interval->high));
}

std::string PValueText(double p) {
  if (p < 1e-4) return "< 0.0001";
  return absl::StrFormat("%.*f", p < 0.01 ? 4 : 3, p);
}

Analysis Analyse(const Ablation& ablation, const std::vector<RunResult>& results, const std::vector<ArmFacts>& arms,
                 const Ablation* planned) {
  Analysis analysis;
  for (const ArmFacts& facts : arms) {
    ArmSummary& arm = analysis.arms.emplace_back();
    arm.name = facts.name;
    std::map<std::string, std::vector<double>> values;
    for (const RunResult& result : results) {
      if (result.arm != facts.name) continue;
      arm.done += result.status == "done";
      arm.diverged += result.status == "diverged";
      arm.failed += result.status == "failed";
      arm.missing += result.status == "missing";
      if (result.status != "done") continue;
      for (const Measure& measure : Measures()) {
        const std::optional<double> value = measure.value(result);
        if (value && IsMeasured(*value)) values[measure.column].push_back(*value);
      }
    }
    for (const auto& [column, sample] : values) arm.measures[column] = SummarizeSample(sample);
  }
  analysis.comparisons = Wanted(ablation);
  bool any_diverged = false;
  for (ComparisonResult& comparison : analysis.comparisons) {
    comparison.added_later = planned != nullptr && !WasPlanned(comparison, *planned);
    comparison.obstacle = Obstacle(comparison, arms);
    for (const RunResult& result : results) {
      const bool own = std::any_of(comparison.terms.begin(), comparison.terms.end(),
                                   [&](const auto& term) { return term.first == result.arm; });
      comparison.diverged += own && result.status == "diverged";
    }
    any_diverged |= comparison.diverged > 0;
  }
  const std::vector<Judgement> primary = JudgeAll(analysis.comparisons, results, arms, true);
  const std::vector<Judgement> second =
      any_diverged ? JudgeAll(analysis.comparisons, results, arms, false) : std::vector<Judgement>();
  for (size_t i = 0; i < primary.size(); ++i) {
    ComparisonResult& comparison = analysis.comparisons[i];
    comparison.judgement = primary[i];
    if (comparison.diverged > 0) comparison.without_diverged = second[i];
    comparison.seeds_to_decide = SeedsToDecide(comparison);
    comparison.sentence = Sentence(comparison);
  }
  return analysis;
}

std::string VerdictTable(const Analysis& analysis) {
  if (analysis.comparisons.empty()) return "";
  std::string text = Aligned(ComparisonRows(analysis));
  text += "\n";
  for (const ComparisonResult& comparison : analysis.comparisons) absl::StrAppend(&text, comparison.sentence, "\n");
  return text;
}

std::string ComparisonsJson(const Analysis& analysis) {
  Json array = Json::array();
  for (const ComparisonResult& comparison : analysis.comparisons) {
    Json json;
    if (comparison.is_contrast) {
      json["name"] = comparison.title;
      Json weights = Json::object();
      for (const auto& [arm, weight] : comparison.terms) weights[arm] = weight;
      json["contrast"] = weights;
    } else {
      json["treatment"] = comparison.terms[0].first;
      json["control"] = comparison.terms[1].first;
    }
    json["metric"] = MetricColumn(comparison.metric);
    AddJudgement(json, comparison.judgement, comparison.margin);
    json["sentence"] = comparison.sentence;
    json["seeds_to_decide"] = comparison.seeds_to_decide ? Json(*comparison.seeds_to_decide) : Json(nullptr);
    json["diverged"] = comparison.diverged;
    json["added_after_first_run"] = comparison.added_later;
    if (!comparison.obstacle.empty()) json["obstacle"] = comparison.obstacle;
    if (comparison.without_diverged) {
      AddJudgement(json["without_diverged"], *comparison.without_diverged, comparison.margin);
    }
    array.push_back(json);
  }
  return absl::StrCat(array.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string SummaryMarkdown(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes) {
  std::string text = absl::StrCat("# ", MarkdownText(ablation.name()), "\n\n");
  if (!ablation.description().empty()) absl::StrAppend(&text, MarkdownText(ablation.description()), "\n\n");
  for (const std::string& note : notes) absl::StrAppend(&text, "> ", MarkdownText(note), "\n");
  if (!notes.empty()) text += "\n";
  const auto table = [&](const std::vector<std::vector<std::string>>& rows) {
    for (size_t r = 0; r < rows.size(); ++r) {
      text += "|";
      for (const std::string& cell : rows[r]) absl::StrAppend(&text, " ", MarkdownText(cell), " |");
      text += "\n";
      if (r > 0) continue;
      for (size_t c = 0; c < rows[r].size(); ++c) text += c == 0 ? "|---|" : "---:|";
      text += "\n";
    }
    text += "\n";
  };
  if (!analysis.comparisons.empty()) {
    for (const ComparisonResult& comparison : analysis.comparisons) {
      absl::StrAppend(&text, "- ", MarkdownText(comparison.sentence), "\n");
    }
    text += "\n";
    table(ComparisonRows(analysis));
  }
  table(ArmRows(analysis));
  absl::StrAppend(&text, kMethod, "\n");
  return text;
}

std::string SummaryLatex(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes) {
  std::string text = "% \\usepackage{booktabs,graphicx}\n";
  for (const std::string& note : notes) {
    absl::StrAppend(&text, "% ", absl::StrReplaceAll(note, {{"\n", " "}, {"\r", " "}}), "\n");
  }
  const auto table = [&](const std::vector<std::vector<std::string>>& rows, const std::string& caption) {
    // Made smaller where it is wider than the page.
    absl::StrAppend(&text, "\\begin{table}\n\\centering\n\\caption{", LatexText(caption),
                    "}\n\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n\\begin{tabular}{l",
                    std::string(rows[0].size() - 1, 'r'), "}\n\\toprule\n");
    for (size_t r = 0; r < rows.size(); ++r) {
      std::vector<std::string> cells;
      for (const std::string& cell : rows[r]) cells.push_back(LatexText(cell));
      absl::StrAppend(&text, absl::StrJoin(cells, " & "), " \\\\\n", r == 0 ? "\\midrule\n" : "");
    }
    text += "\\bottomrule\n\\end{tabular}}\n\\end{table}\n";
  };
  const std::string title = absl::StrCat("Ablation ", ablation.name());
  if (!analysis.comparisons.empty()) {
    table(ComparisonRows(analysis), absl::StrCat(title, ": comparisons. ", kMethod));
  }
  // All measures side by side would have to be made too small to read.
  const std::vector<std::vector<std::string>> arms = ArmRows(analysis);
  constexpr size_t kNames = 3, kMeasures = 5;  // columns of a table: arm, n, diverged; then some of the measures
  for (size_t first = kNames; first < arms[0].size(); first += kMeasures) {
    std::vector<std::vector<std::string>> rows;
    for (const std::vector<std::string>& arm : arms) {
      rows.emplace_back(arm.begin(), arm.begin() + kNames);
      const size_t last = std::min(arm.size(), first + kMeasures);
      rows.back().insert(rows.back().end(), arm.begin() + static_cast<std::ptrdiff_t>(first),
                         arm.begin() + static_cast<std::ptrdiff_t>(last));
    }
    table(rows, absl::StrCat(title, ": arms", first == kNames ? "" : ", continued",
                             ". Mean +- standard deviation over seeds, last epoch."));
  }
  return text;
}

std::string PowerText(const Ablation& ablation, int64_t seeds, const std::vector<RunResult>& results,
                      double expected_sd) {
  const std::vector<ComparisonResult> wanted = Wanted(ablation);
  if (wanted.empty()) return "";
  const double m = static_cast<double>(wanted.size());
  const double smallest = std::min(1.0, m * SmallestSignFlipP(seeds));
  std::string text = absl::StrCat(
      "With ", SeedCount(seeds), " and Holm over ", wanted.size(), wanted.size() == 1 ? " comparison" : " comparisons",
      " the smallest adjusted p that a comparison can reach is ", PValueText(smallest), ".\n");
  if (smallest > kAlpha) {
    absl::StrAppend(&text, "That is above 0.05: no comparison can come out better or worse, whatever the runs show. ",
                    SeedsToReach(kAlpha / m), " seeds are the least that can.\n");
    return text;
  }
  std::vector<std::vector<std::string>> rows = {
      {"comparison", "metric", "detectable difference", "margin", "standard deviation of a difference"}};
  for (const ComparisonResult& comparison : wanted) {
    const Measure& measure = MeasureOf(comparison.metric);
    std::vector<SeedValues> values;
    for (const auto& [arm, weight] : comparison.terms) {
      values.push_back(ValuesOf(arm, comparison.metric, results, {}, false));
    }
    const SampleSummary summary = SummarizeSample(PairedDifferences(comparison, values));
    std::optional<double> sd = summary.sd;
    std::string source;
    if (sd) {
      source = absl::StrCat(DifferenceText(measure, *sd).substr(1), " in ", summary.n, " pairs that are done");
    } else if (expected_sd > 0) {
      sd = expected_sd;
      source = absl::StrCat(DifferenceText(measure, *sd).substr(1), " by --expected_sd");
    }
    // The least favourable place in Holm's order.
    const std::optional<double> in_deviations = DetectableDifference(seeds, 1, kAlpha / m, kPower);
    PRUNELAB_CHECK(in_deviations.has_value());
    rows.push_back({comparison.title, measure.label,
                    sd ? DifferenceText(measure, *in_deviations * *sd).substr(1)
                       : absl::StrFormat("%.2f standard deviations", *in_deviations),
                    DifferenceText(measure, comparison.margin).substr(1), sd ? source : "unknown: give --expected_sd"});
  }
  absl::StrAppend(&text, "\n", Aligned(rows), "\nDetectable: found with probability 0.8 at 0.05 / ", wanted.size(),
                  " (the first place in Holm's order).\n");
  return text;
}

}  // namespace prunelab
