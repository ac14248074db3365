#include "experiments/reporting/measure_text.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace prunelab {

std::string ValueText(const Measure& measure, double value) {
  const std::string number = absl::StrFormat("%.*f", measure.options().digits(), value * measure.scale());
  return *measure.unit() == '\0' ? number : absl::StrCat(number, " ", measure.unit());
}

std::string DifferenceText(const Measure& measure, double difference) {
  const std::string number = absl::StrFormat("%+.*f", measure.options().digits(), difference * measure.scale());
  return measure.options().unit() == MeasureOptions::PERCENT ? absl::StrCat(number, " points") : number;
}

std::string IntervalText(const Measure& measure, const std::optional<Interval>& interval) {
  if (!interval) return "-";
  if (std::isinf(interval->low)) return "unbounded";
  return absl::StrCat(absl::StrFormat("%+.*f", measure.options().digits(), interval->low * measure.scale()), " to ",
                      DifferenceText(measure, interval->high));
}

std::string PValueText(double p) {
  if (p < 1e-4) return "< 0.0001";
  return absl::StrFormat("%.*f", p < 0.01 ? 4 : 3, p);
}

std::string DistanceText(const Measure& measure, double distance) {
  return DifferenceText(measure, std::abs(distance)).substr(1);
}

std::string SeedCount(int64_t n) { return n == 1 ? "1 seed" : absl::StrCat(n, " seeds"); }

}  // namespace prunelab
