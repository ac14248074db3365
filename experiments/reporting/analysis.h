// From the results of runs to verdicts: what an ablation's comparisons and contrasts, written down before the run, come
// to. docs/statistics.md says what is computed and why.
//
//   const Analysis analysis = Analyse(ablation, results, arms, planned);
//   std::cout << VerdictTable(analysis);
//
// Primary test: paired by seed, exact sign-flip, Holm over all comparisons and contrasts. Welch, bootstrap and TOST
// stand beside it. Everything is of the last epoch.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "ml/statistics/summary.h"

namespace prunelab {

// What sparsity means in an arm. Filters, weights, and both in one run (by its phases) are different measures: no
// verdict goes across them.
enum class MaskKind { kUnknown, kNone, kFilters, kWeights, kBoth };

struct ArmFacts {
  std::string name;
  std::optional<int64_t> classes;  // of the data: what chance is
  MaskKind masks = MaskKind::kUnknown;
};

// A number that arms are compared or tabled by.
struct Measure {
  std::string column;  // in results.csv, or derived: compression_ratio, theoretical_speedup
  std::string label;   // for people, without the unit
  std::string unit;    // "%", "" or "x": of value * scale
  double scale = 1;    // 100 for fractions
  int digits = 2;      // shown behind the point
  bool higher_is_better = true;
  std::optional<double> (*value)(const RunResult&) = nullptr;
};

// Those of the table of arms, DESIGN's all together: accuracies, the three sparsities, sizes, costs.
const std::vector<Measure>& Measures();
const Measure& MeasureOf(Metric metric);

struct ArmSummary {
  std::string name;
  int64_t done = 0, diverged = 0, failed = 0, missing = 0;
  std::map<std::string, SampleSummary> measures;  // by column, over the runs that are done; absent without any
};

// One analysis of one comparison.
struct Judgement {
  int64_t n_treatment = 0, n_control = 0;              // runs with a value, in all arms with positive, negative weight
  int64_t pairs = 0;                                   // seeds that have a value in every arm
  std::optional<double> mean_treatment, mean_control;  // weighted sums of the arms' means
  std::optional<double> difference, sd;                // of the pairs' differences: mean and standard deviation
  std::optional<Interval> interval;     // sign-flip at 1 - 0.05 / holm_divisor, it excludes 0 where p_holm <= 0.05
  std::optional<Interval> interval_95;  // sign-flip, unadjusted
  std::optional<Interval> student_95, bootstrap_95;
  double p_sign_flip = 1, p_standard_error = 0, p_holm = 1;
  int64_t holm_divisor = 1;
  std::optional<double> p_paired_t, p_welch, hedges_g, p_equivalence;
  // better, worse (each also "... by less than the margin"), equivalent, no conclusion
  std::string verdict;
};

struct ComparisonResult {
  std::string title;  // "a vs. b", or the contrast's name
  bool is_contrast = false;
  std::vector<std::pair<std::string, double>> terms;  // arm, weight; of a comparison treatment 1, control -1
  Metric metric = TEST_TOP1;
  double margin = 0;
  bool added_later = false;                   // written down after the first run
  int64_t diverged = 0;                       // runs of its arms
  std::string obstacle;                       // why no verdict can be given whatever the numbers are, or ""
  Judgement judgement;                        // diverged runs count as chance
  std::optional<Judgement> without_diverged;  // where there are any
  std::optional<int64_t> seeds_to_decide;  // more than there are; where there is no conclusion and the spread is known
  std::string sentence;
};

struct Analysis {
  std::vector<ArmSummary> arms;
  std::vector<ComparisonResult> comparisons;
};

// `arms` in the order of the tables, at least those of `results`. `planned`: the ablation as it was before the first
// run, or null where that is not known.
Analysis Analyse(const Ablation& ablation, const std::vector<RunResult>& results, const std::vector<ArmFacts>& arms,
                 const Ablation* planned);

// "test_top1" of TEST_TOP1: the column in results.csv.
std::string MetricColumn(Metric metric);

// The verdicts as a table for the terminal, with a sentence each; "" without comparisons.
std::string VerdictTable(const Analysis& analysis);

// comparisons.json: an array, docs/results.md names the keys. What is unbounded or unknown is null.
std::string ComparisonsJson(const Analysis& analysis);

// For a README or a pull request, and for a paper (booktabs). `notes` are what a reader must know first.
std::string SummaryMarkdown(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes);
std::string SummaryLatex(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes);

// What `seeds` planned seeds can show, before any training: for each comparison the smallest adjusted p and the
// difference detected with probability 0.8, from the spread of the pairs in `results`, else from `expected_sd` (of a
// difference, in the metric's unit; 0: no guess). "" without comparisons.
std::string PowerText(const Ablation& ablation, int64_t seeds, const std::vector<RunResult>& results,
                      double expected_sd);

// A value with its unit, e.g. "98.89 %", "77754"; a difference, e.g. "+1.47 points"; an interval, e.g. "+0.31 to +2.63
// points".
std::string ValueText(const Measure& measure, double value);
std::string DifferenceText(const Measure& measure, double difference);
std::string IntervalText(const Measure& measure, const std::optional<Interval>& interval);
std::string PValueText(double p);

}  // namespace prunelab
