#include "ml/statistics/effect_size.h"

#include <cmath>

#include "ml/base/check.h"
#include "ml/statistics/summary.h"

namespace prunelab {

std::optional<double> HedgesG(const std::vector<double>& treatment, const std::vector<double>& control) {
  return HedgesGContrast({treatment, control}, {1, -1});
}

std::optional<double> HedgesGContrast(const std::vector<std::vector<double>>& samples,
                                      const std::vector<double>& weights) {
  PRUNELAB_CHECK(samples.size() == weights.size() && !samples.empty()) << samples.size() << ", " << weights.size();
  double sum = 0, squares = 0, degrees_of_freedom = 0;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].empty()) return std::nullopt;
    std::vector<double> shifted = samples[i];
    for (double& value : shifted) value -= samples.back().front();
    const SampleSummary summary = SummarizeSample(shifted);
    const double sd = summary.sd.value_or(0);
    sum += weights[i] * summary.mean;
    squares += static_cast<double>(summary.n - 1) * sd * sd;
    degrees_of_freedom += static_cast<double>(summary.n - 1);
  }
  if (degrees_of_freedom < 1) return std::nullopt;
  const double pooled = std::sqrt(squares / degrees_of_freedom);
  if (!(pooled > 0)) return std::nullopt;
  return sum / pooled * (1 - 3 / (4 * degrees_of_freedom - 1));
}

}  // namespace prunelab
