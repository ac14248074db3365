#include "experiments/reporting/judgement.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ml/statistics/bootstrap.h"
#include "ml/statistics/effect_size.h"
#include "ml/statistics/equivalence.h"
#include "ml/statistics/holm.h"
#include "ml/statistics/power.h"
#include "ml/statistics/sign_flip.h"
#include "ml/statistics/summary.h"
#include "ml/statistics/t_test.h"

namespace prunelab {
namespace {

bool HigherIsBetter(Metric metric) { return MeasureOf(metric).options().better() == MeasureOptions::HIGHER; }

double Worse(Metric metric, double a, double b) { return HigherIsBetter(metric) ? std::min(a, b) : std::max(a, b); }

// The value of the measure for a run that learned nothing, or no value.
std::optional<double> Chance(Metric metric, const std::optional<int64_t>& classes) {
  if (!classes || *classes < 1) return std::nullopt;
  const double n = static_cast<double>(*classes);
  switch (MeasureOf(metric).options().chance()) {
    case MeasureOptions::ONE_CLASS:
      return 1 / n;
    case MeasureOptions::FIVE_CLASSES:
      return std::min(1.0, 5 / n);
    case MeasureOptions::LOG_CLASSES:
      return std::log(n);
    case MeasureOptions::NO_CHANCE:
      break;
  }
  return std::nullopt;
}

std::optional<double> ChanceOf(const std::string& arm, Metric metric, const std::vector<ArmFacts>& arms) {
  const auto facts = std::find_if(arms.begin(), arms.end(), [&](const ArmFacts& a) { return a.name == arm; });
  return facts == arms.end() ? std::nullopt : Chance(metric, facts->classes);
}

// The worst value of the runs of its arms that are done.
std::optional<double> WorstDone(const ComparisonResult& comparison, const std::vector<RunResult>& results) {
  std::optional<double> worst;
  for (const SeedValues& values : DoneValues(comparison, results)) {
    for (const auto& [seed, value] : values) worst = worst ? Worse(comparison.metric, *worst, value) : value;
  }
  return worst;
}

// With the diverged runs: as chance or worse where the metric knows chance, else as they are measured.
std::vector<SeedValues> ValuesWithDiverged(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                                           const std::vector<ArmFacts>& arms) {
  const Measure& measure = MeasureOf(comparison.metric);
  const bool knows_chance = measure.options().chance() != MeasureOptions::NO_CHANCE;
  const std::vector<std::optional<double>> lost = LostValues(comparison, results, arms);
  std::vector<SeedValues> values = DoneValues(comparison, results);
  for (size_t i = 0; i < values.size(); ++i) {
    for (const RunResult& result : results) {
      if (result.arm != comparison.terms[i].first || result.status != "diverged") continue;
      const std::optional<double> value = knows_chance ? lost[i] : MeasuredValue(measure, result);
      if (value) values[i][result.seed] = *value;
    }
  }
  return values;
}

// Everything that does not depend on the other comparisons.
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

// The word for a difference of this sign.
const char* Direction(Metric metric, bool higher) {
  switch (MeasureOf(metric).options().better()) {
    case MeasureOptions::HIGHER:
      return higher ? "better" : "worse";
    case MeasureOptions::LOWER:
      return higher ? "worse" : "better";
    case MeasureOptions::NEITHER:
      break;
  }
  return higher ? "higher" : "lower";
}

// The interval and the verdict, after Holm's correction. `equivalence`: the adjusted p of TOST. `closed_by`: the
// primary comparison that kept this one from being tested, or "".
void Conclude(const ComparisonResult& comparison, const std::vector<SeedValues>& values, const HolmAdjusted& holm,
              double equivalence, const std::string& closed_by, Judgement& judgement) {
  judgement.p_holm = holm.p;
  judgement.holm_divisor = holm.divisor;
  judgement.p_equivalence_holm = equivalence;
  judgement.closed_by = closed_by;
  judgement.verdict = "no conclusion";
  if (judgement.pairs == 0) return;
  judgement.interval =
      SignFlipInterval(PairedDifferences(comparison, values), 1 - kAlpha / static_cast<double>(holm.divisor));
  if (!comparison.obstacle.empty() || !closed_by.empty()) return;
  const auto failed = [](const Manipulation& manipulation) { return !manipulation.Held(); };
  if (std::any_of(comparison.manipulations.begin(), comparison.manipulations.end(), failed)) {
    judgement.verdict = "could not be tested";
    return;
  }
  if (judgement.p_holm <= kAlpha) {
    judgement.verdict = Direction(comparison.metric, *judgement.difference > 0);
    if (judgement.interval->low > -comparison.margin && judgement.interval->high < comparison.margin) {
      judgement.verdict += " by less than the margin";
    }
  } else if (judgement.p_equivalence && equivalence <= kAlpha) {
    judgement.verdict = "equivalent";
  }
}

// Whether a primary comparison opens the gate to the next: only by a difference. Where none was found, also if it is
// equivalent, the 0.05 of the sequence is spent.
bool OpensTheGate(const Judgement& judgement) {
  return judgement.verdict != "no conclusion" && judgement.verdict != "could not be tested" &&
         judgement.verdict != "equivalent";
}

// Whether a comparison can come out better or worse at all, whatever its seeds show: then it has a part in Holm's
// correction, else none is spent on it.
bool CanDecide(const ComparisonResult& comparison, const Judgement& judgement) {
  return judgement.pairs > 0 && comparison.obstacle.empty() && SmallestSignFlipP(judgement.pairs) <= kAlpha;
}

// Holm's correction over those that `takes_part`; the others' p are left as they are.
std::vector<HolmAdjusted> HolmOfSome(const std::vector<double>& p, const std::vector<bool>& takes_part) {
  std::vector<double> some;
  for (size_t i = 0; i < p.size(); ++i) {
    if (takes_part[i]) some.push_back(p[i]);
  }
  const std::vector<HolmAdjusted> adjusted = Holm(some, kAlpha);
  std::vector<HolmAdjusted> all;
  size_t next = 0;
  for (size_t i = 0; i < p.size(); ++i) all.push_back(takes_part[i] ? adjusted[next++] : HolmAdjusted{p[i], 1});
  return all;
}

}  // namespace

std::optional<double> MeasuredValue(const Measure& measure, const RunResult& result) {
  const std::optional<double> value = measure.Value(result.measures);
  return value && std::abs(*value) <= std::numeric_limits<float>::max() ? value : std::nullopt;
}

std::vector<SeedValues> DoneValues(const ComparisonResult& comparison, const std::vector<RunResult>& results) {
  const Measure& measure = MeasureOf(comparison.metric);
  std::vector<SeedValues> values(comparison.terms.size());
  for (size_t i = 0; i < values.size(); ++i) {
    for (const RunResult& result : results) {
      if (result.arm != comparison.terms[i].first || result.status != "done") continue;
      if (const auto value = MeasuredValue(measure, result)) values[i][result.seed] = *value;
    }
  }
  return values;
}

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

std::vector<std::optional<double>> LostValues(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                                              const std::vector<ArmFacts>& arms) {
  const std::optional<double> worst = WorstDone(comparison, results);
  std::vector<std::optional<double>> lost;
  for (const auto& [arm, weight] : comparison.terms) {
    const std::optional<double> chance = ChanceOf(arm, comparison.metric, arms);
    lost.push_back(chance && worst ? Worse(comparison.metric, *chance, *worst) : chance);
  }
  return lost;
}

bool IsLostBelowChance(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                       const std::vector<ArmFacts>& arms) {
  const std::vector<std::optional<double>> lost = LostValues(comparison, results, arms);
  for (size_t i = 0; i < lost.size(); ++i) {
    const std::string& arm = comparison.terms[i].first;
    if (lost[i] == ChanceOf(arm, comparison.metric, arms)) continue;
    if (std::any_of(results.begin(), results.end(),
                    [&](const RunResult& result) { return result.arm == arm && result.status == "diverged"; })) {
      return true;
    }
  }
  return false;
}

int64_t DivergedWithoutValue(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                             const std::vector<ArmFacts>& arms) {
  const std::vector<SeedValues> values = ValuesWithDiverged(comparison, results, arms);
  int64_t without = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    without += std::count_if(results.begin(), results.end(), [&](const RunResult& result) {
      return result.arm == comparison.terms[i].first && result.status == "diverged" &&
             values[i].count(result.seed) == 0;
    });
  }
  return without;
}

std::vector<Judgement> JudgeAll(const std::vector<ComparisonResult>& comparisons, const std::vector<RunResult>& results,
                                const std::vector<ArmFacts>& arms, bool with_diverged) {
  std::vector<std::vector<SeedValues>> values;
  std::vector<Judgement> judgements;
  std::vector<double> p;
  for (const ComparisonResult& comparison : comparisons) {
    values.push_back(with_diverged ? ValuesWithDiverged(comparison, results, arms) : DoneValues(comparison, results));
    judgements.push_back(Judge(comparison, values.back()));
    p.push_back(judgements.back().p_sign_flip);
  }
  // Equivalences are a family of their own: all of them together, whether primary or not.
  std::vector<bool> is_equivalent;
  std::vector<double> p_equivalence;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    is_equivalent.push_back(judgements[i].p_equivalence.has_value() && comparisons[i].obstacle.empty());
    p_equivalence.push_back(judgements[i].p_equivalence.value_or(1));
  }
  const std::vector<HolmAdjusted> equivalence = HolmOfSome(p_equivalence, is_equivalent);
  // Of differences first the primary ones in their order, each at the full level, as long as the one before came out
  // different.
  std::vector<size_t> primary;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    if (comparisons[i].primary > 0) primary.push_back(i);
  }
  std::stable_sort(primary.begin(), primary.end(),
                   [&](size_t a, size_t b) { return comparisons[a].primary < comparisons[b].primary; });
  std::string closed_by;
  for (const size_t i : primary) {
    Conclude(comparisons[i], values[i], {p[i], 1}, equivalence[i].p, closed_by, judgements[i]);
    if (closed_by.empty() && !OpensTheGate(judgements[i])) closed_by = comparisons[i].title;
  }
  // Then all others together.
  std::vector<bool> differs;
  int64_t others = 0;
  for (size_t i = 0; i < comparisons.size(); ++i) {
    const bool other = comparisons[i].primary == 0;
    others += other && comparisons[i].obstacle.empty();
    differs.push_back(other && CanDecide(comparisons[i], judgements[i]));
  }
  const std::vector<HolmAdjusted> holm = HolmOfSome(p, differs);
  for (size_t i = 0; i < comparisons.size(); ++i) {
    if (comparisons[i].primary > 0) continue;
    Conclude(comparisons[i], values[i], holm[i], equivalence[i].p, closed_by, judgements[i]);
    // With more seeds it would share the level with the others.
    judgements[i].planning_divisor = differs[i] ? holm[i].divisor : std::max<int64_t>(others, 1);
  }
  return judgements;
}

std::optional<int64_t> SeedsToDecide(const ComparisonResult& comparison) {
  const Judgement& judgement = comparison.judgement;
  if (judgement.verdict != "no conclusion" || !comparison.obstacle.empty()) return std::nullopt;
  if (!judgement.sd || !comparison.claim || !judgement.closed_by.empty()) return std::nullopt;
  const double alpha = kAlpha / static_cast<double>(judgement.planning_divisor);
  return SeedsToDetect(*comparison.claim, *judgement.sd, alpha, kPower);
}

void MeasureManipulations(ComparisonResult& comparison, const std::vector<RunResult>& results) {
  for (Manipulation& manipulation : comparison.manipulations) {
    ComparisonResult of;
    of.metric = manipulation.metric;
    of.terms = {{manipulation.treatment, 1.0}, {manipulation.control, -1.0}};
    const std::vector<SeedValues> values = DoneValues(of, results);
    double treatment = 0, control = 0;
    for (const auto& [seed, value] : values[0]) {
      const auto other = values[1].find(seed);
      if (other == values[1].end()) continue;
      treatment += value;
      control += other->second;
      ++manipulation.pairs;
    }
    if (manipulation.pairs > 0 && control != 0) manipulation.ratio = treatment / control;
  }
}

}  // namespace prunelab
