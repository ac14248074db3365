#include "experiments/reporting/analysis.h"

#include <algorithm>

#include "experiments/reporting/judgement.h"
#include "experiments/reporting/sentence.h"

namespace prunelab {
namespace {

ArmSummary SummarizeArm(const std::string& name, const std::vector<RunResult>& results) {
  ArmSummary arm;
  arm.name = name;
  std::map<std::string, std::vector<double>> values;
  for (const RunResult& result : results) {
    if (result.arm != name) continue;
    arm.done += result.status == "done";
    arm.diverged += result.status == "diverged";
    arm.failed += result.status == "failed";
    arm.missing += result.status == "missing";
    if (result.status != "done") continue;
    for (const Measure& measure : AllMeasures()) {
      if (!measure.options().table()) continue;
      if (const auto value = MeasuredValue(measure, result)) values[measure.name()].push_back(*value);
    }
  }
  for (const auto& [column, sample] : values) arm.measures[column] = SummarizeSample(sample);
  return arm;
}

}  // namespace

Analysis Analyse(const Ablation& ablation, const std::vector<RunResult>& results, const std::vector<ArmFacts>& arms,
                 const Ablation* planned) {
  Analysis analysis;
  for (const ArmFacts& facts : arms) analysis.arms.push_back(SummarizeArm(facts.name, results));
  analysis.comparisons = WantedComparisons(ablation);
  bool any_diverged = false;
  for (ComparisonResult& comparison : analysis.comparisons) {
    comparison.added_later = planned != nullptr && !WasPlanned(comparison, *planned);
    comparison.obstacle = Obstacle(comparison, arms);
    MeasureManipulations(comparison, results);
    for (const RunResult& result : results) {
      const bool own = std::any_of(comparison.terms.begin(), comparison.terms.end(),
                                   [&](const auto& term) { return term.first == result.arm; });
      comparison.diverged += own && result.status == "diverged";
    }
    comparison.diverged_without_value = DivergedWithoutValue(comparison, results, arms);
    comparison.lost_below_chance = IsLostBelowChance(comparison, results, arms);
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
    comparison.sentence = VerdictSentence(comparison);
  }
  return analysis;
}

}  // namespace prunelab
