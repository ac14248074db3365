// Measures and their statistics as text for readers.
#pragma once

#include <optional>
#include <string>

#include "experiments/records/measures.h"
#include "ml/statistics/summary.h"

namespace prunelab {

// A value with its unit, e.g. "98.89 %", "77754"; a difference, e.g. "+1.47 points"; an interval, e.g. "+0.31 to +2.63
// points", "-" if there is none, "unbounded" if nothing is excluded.
std::string ValueText(const Measure& measure, double value);
std::string DifferenceText(const Measure& measure, double difference);
std::string IntervalText(const Measure& measure, const std::optional<Interval>& interval);
// A difference without its sign, e.g. a margin: "0.50 points".
std::string DistanceText(const Measure& measure, double distance);

std::string PValueText(double p);
std::string SeedCount(int64_t n);  // "1 seed", "10 seeds"

}  // namespace prunelab
