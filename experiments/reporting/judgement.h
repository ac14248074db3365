// The statistics of comparisons: paired by seed, exact sign-flip test, primary ones in their order, then Holm over all
// others; Welch, bootstrap and TOST in addition. docs/statistics.md says why.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "experiments/records/measures.h"
#include "experiments/records/records.h"
#include "experiments/reporting/comparison.h"

namespace prunelab {

inline constexpr double kAlpha = 0.05;  // of a verdict
inline constexpr double kPower = 0.8;   // with which planned seeds should find a difference

// The measure's value in a result, if it has one that a run can have measured: runs compute in float32, and the squares
// of larger numbers would make means infinite.
std::optional<double> MeasuredValue(const Measure& measure, const RunResult& result);

// seed -> value of an arm's runs.
using SeedValues = std::map<int64_t, double>;

// By the arms of the comparison, the values of the runs that are done.
std::vector<SeedValues> DoneValues(const ComparisonResult& comparison, const std::vector<RunResult>& results);

// For the seeds that have a value in every arm.
std::vector<double> PairedDifferences(const ComparisonResult& comparison, const std::vector<SeedValues>& values);

// What a diverged run of the comparison counts as, by arm: chance, or the worst value among the finished runs of all
// its arms if that is worse. So a diverged run is never better than a finished one. No value if the metric has no
// chance, or the number of classes is not known.
std::vector<std::optional<double>> LostValues(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                                              const std::vector<ArmFacts>& arms);

// The diverged runs of the comparison's arms that no analysis has: LostValues has no value for them, or, of a measure
// without chance, they measured nothing.
int64_t DivergedWithoutValue(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                             const std::vector<ArmFacts>& arms);

// Whether that is worse than chance in an arm which has a diverged run.
bool IsLostBelowChance(const ComparisonResult& comparison, const std::vector<RunResult>& results,
                       const std::vector<ArmFacts>& arms);

// The judgements of all comparisons together, with the diverged runs or without them.
std::vector<Judgement> JudgeAll(const std::vector<ComparisonResult>& comparisons, const std::vector<RunResult>& results,
                                const std::vector<ArmFacts>& arms, bool with_diverged);

// The seeds with which a comparison without conclusion would find the difference that it claims, with power kPower and
// the spread that it has; no value where that is not known.
std::optional<int64_t> SeedsToDecide(const ComparisonResult& comparison);

// What the comparison's manipulation checks come to, by the runs that are done.
void MeasureManipulations(ComparisonResult& comparison, const std::vector<RunResult>& results);

}  // namespace prunelab
