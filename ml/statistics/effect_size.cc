#include "ml/statistics/effect_size.h"

#include <cmath>

#include "ml/statistics/summary.h"

namespace prunelab {

std::optional<double> HedgesG(const std::vector<double>& treatment, const std::vector<double>& control) {
  if (treatment.empty() || control.empty() || treatment.size() + control.size() < 3) return std::nullopt;
  const double offset = control.front();
  const auto shifted = [&](std::vector<double> values) {
    for (double& value : values) value -= offset;
    return SummarizeSample(values);
  };
  const SampleSummary a = shifted(treatment), b = shifted(control);
  const double n_a = static_cast<double>(a.n), n_b = static_cast<double>(b.n);
  const double sd_a = a.sd.value_or(0), sd_b = b.sd.value_or(0);
  const double pooled = std::sqrt(((n_a - 1) * sd_a * sd_a + (n_b - 1) * sd_b * sd_b) / (n_a + n_b - 2));
  if (!(pooled > 0)) return std::nullopt;
  return (a.mean - b.mean) / pooled * (1 - 3 / (4 * (n_a + n_b) - 9));
}

}  // namespace prunelab
