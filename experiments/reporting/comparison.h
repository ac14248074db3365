// The comparisons that an ablation asks for, and the result of each.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "ml/statistics/summary.h"

namespace prunelab {

// What sparsity means in an arm. Filters, weights, and both in one run (by its phases) are different measures, and
// there is no verdict across them.
enum class MaskKind { kUnknown, kNone, kFilters, kWeights, kBoth };

struct ArmFacts {
  std::string name;
  std::optional<int64_t> classes;  // of the data: determines chance
  MaskKind masks = MaskKind::kUnknown;
  std::map<std::string, int64_t> filters = {};  // by convolution, of the network that is trained, where it is known
};

// One analysis of one comparison.
struct Judgement {
  int64_t n_treatment = 0, n_control = 0;  // runs with a value, in all arms with positive and with negative weight
  int64_t pairs = 0;                       // seeds that have a value in every arm
  std::optional<double> mean_treatment, mean_control;  // weighted sums of the arms' means
  std::optional<double> difference, sd;                // of the pairs' differences: mean and standard deviation
  std::optional<Interval> interval;     // sign-flip at 1 - 0.05 / holm_divisor; it excludes 0 where p_holm <= 0.05
  std::optional<Interval> interval_95;  // sign-flip, unadjusted
  std::optional<Interval> student_95, bootstrap_95;
  double p_sign_flip = 1, p_standard_error = 0, p_holm = 1;
  int64_t holm_divisor = 1;
  int64_t planning_divisor =
      1;  // with more seeds: holm_divisor, or, where these can decide nothing, all others' number
  std::optional<double> p_paired_t, p_welch, hedges_g, p_equivalence;
  double p_equivalence_holm = 1;  // p_equivalence, adjusted over all of the ablation's equivalences
  // better, worse (of a measure that is neither: higher, lower; each also "... by less than the margin"), equivalent,
  // could not be tested, no conclusion
  std::string verdict;
  std::string closed_by;  // the primary comparison that showed no difference, so that this one is not tested; or ""
};

// What a ManipulationCheck came to.
struct Manipulation {
  Metric metric = TEST_TOP1;
  std::string treatment, control;
  std::optional<double> at_most, at_least;
  int64_t pairs = 0;            // seeds that both arms have
  std::optional<double> ratio;  // of their means; no value without pairs
  bool Held() const { return ratio && (!at_most || *ratio <= *at_most) && (!at_least || *ratio >= *at_least); }
};

struct ComparisonResult {
  std::string title;  // "a vs. b", or the contrast's name
  bool is_contrast = false;
  std::vector<std::pair<std::string, double>> terms;  // arm, weight; for a comparison treatment 1, control -1
  Metric metric = TEST_TOP1;
  double margin = 0;
  int32_t primary = 0;          // its place among the primary ones, from 1; 0: none of them
  std::optional<double> claim;  // the difference whose finding is planned for: the claim, or the margin above 0
  std::vector<Manipulation> manipulations;
  bool added_later = false;                   // written down after the first run
  int64_t diverged = 0;                       // runs of its arms
  int64_t diverged_without_value = 0;         // those that can count as nothing (DivergedWithoutValue)
  bool lost_below_chance = false;             // diverged runs count as the worst that finished, which is below chance
  std::string obstacle;                       // why no verdict can be given whatever the numbers are, or ""
  Judgement judgement;                        // diverged runs count as chance, or worse (judgement.h)
  std::optional<Judgement> without_diverged;  // if there are any
  std::optional<int64_t> seeds_to_decide;  // to find the claim with kPower; if no conclusion, and the spread is known
  std::string sentence;
};

// The ablation's comparisons and then its contrasts, without results.
std::vector<ComparisonResult> WantedComparisons(const Ablation& ablation);

// Whether the ablation, as it was before the first run, contained the comparison.
bool WasPlanned(const ComparisonResult& comparison, const Ablation& planned);

// Why no verdict can be given whatever the numbers are, e.g. that one side masks filters and the other weights; or "".
std::string Obstacle(const ComparisonResult& comparison, const std::vector<ArmFacts>& arms);

}  // namespace prunelab
