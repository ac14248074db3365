#include "ml/statistics/summary.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>

#include "ml/base/check.h"

namespace prunelab {

SampleSummary SummarizeSample(const std::vector<double>& values) {
  SampleSummary summary;
  summary.n = static_cast<int64_t>(values.size());
  if (values.empty()) return summary;
  const double n = static_cast<double>(summary.n);
  const double offset = values.front();
  double shifted_mean = 0;
  for (const double value : values) shifted_mean += (value - offset) / n;
  summary.mean = offset + shifted_mean;
  if (summary.n < 2) return summary;
  double squares = 0, residue = 0;
  for (const double value : values) {
    const double deviation = value - offset - shifted_mean;
    squares += deviation * deviation;
    residue += deviation;
  }
  // The residue is the rounding error of the mean (Chan, Golub and LeVeque 1983).
  summary.sd = std::sqrt(std::max(squares - residue * residue / n, 0.0) / (n - 1));
  const bool constant = std::all_of(values.begin(), values.end(), [&](double value) { return value == offset; });
  if (constant) summary = {summary.n, offset, 0.0};
  return summary;
}

std::optional<double> StudentHalfWidth(const SampleSummary& summary, double level) {
  PRUNELAB_CHECK(level > 0 && level < 1) << level;
  if (!summary.sd) return std::nullopt;
  const double n = static_cast<double>(summary.n);
  const boost::math::students_t distribution(n - 1);
  return boost::math::quantile(boost::math::complement(distribution, (1 - level) / 2)) * *summary.sd / std::sqrt(n);
}

std::vector<double> Differences(const std::vector<double>& treatment, const std::vector<double>& control) {
  PRUNELAB_CHECK(treatment.size() == control.size()) << treatment.size() << " and " << control.size();
  std::vector<double> differences(treatment.size());
  for (size_t i = 0; i < treatment.size(); ++i) differences[i] = treatment[i] - control[i];
  return differences;
}

double Median(std::vector<double> values) {
  PRUNELAB_CHECK(!values.empty());
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*std::max_element(values.begin(), middle) + *middle) / 2;
}

}  // namespace prunelab
