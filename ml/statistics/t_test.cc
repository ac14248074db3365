#include "ml/statistics/t_test.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

#include "ml/base/check.h"
#include "ml/statistics/summary.h"

namespace prunelab {
namespace {

TTest TwoSided(double difference, double standard_error, double degrees_of_freedom) {
  TTest test;
  test.degrees_of_freedom = degrees_of_freedom;
  if (standard_error > 0) {
    test.t = difference / standard_error;
  } else if (difference != 0) {
    test.t = std::copysign(std::numeric_limits<double>::infinity(), difference);
  }
  test.p = std::min(1.0, 2 * StudentUpperTail(std::abs(test.t), degrees_of_freedom));
  return test;
}

}  // namespace

double StudentUpperTail(double t, double degrees_of_freedom) {
  if (std::isinf(t)) return t > 0 ? 0 : 1;
  return boost::math::cdf(boost::math::complement(boost::math::students_t(degrees_of_freedom), t));
}

double StudentLowerTail(double t, double degrees_of_freedom) { return StudentUpperTail(-t, degrees_of_freedom); }

std::optional<TTest> PairedTTest(const std::vector<double>& differences) {
  const SampleSummary summary = SummarizeSample(differences);
  if (!summary.sd) return std::nullopt;
  const double n = static_cast<double>(summary.n);
  return TwoSided(summary.mean, *summary.sd / std::sqrt(n), n - 1);
}

std::optional<TTest> WelchTest(const std::vector<double>& treatment, const std::vector<double>& control) {
  return WelchContrast({treatment, control}, {1, -1});
}

std::optional<TTest> WelchContrast(const std::vector<std::vector<double>>& samples,
                                   const std::vector<double>& weights) {
  PRUNELAB_CHECK(samples.size() == weights.size() && !samples.empty()) << samples.size() << ", " << weights.size();
  double sum = 0, variance = 0;
  std::vector<double> variances;
  for (size_t i = 0; i < samples.size(); ++i) {
    if (samples[i].size() < 2) return std::nullopt;
    // Subtracting the same offset from all values changes nothing, because the weights add up to 0, and keeps the
    // digits of a small sum.
    std::vector<double> shifted = samples[i];
    for (double& value : shifted) value -= samples.back().front();
    const SampleSummary summary = SummarizeSample(shifted);
    sum += weights[i] * summary.mean;
    variances.push_back(weights[i] * weights[i] * *summary.sd * *summary.sd / static_cast<double>(summary.n));
    variance += variances.back();
  }
  double inverse = 0;  // 1 / the degrees of freedom
  for (size_t i = 0; i < samples.size(); ++i) {
    // Shares instead of squared variances, which would underflow for tiny ones.
    const double share = variance > 0 ? variances[i] / variance : 1.0 / static_cast<double>(samples.size());
    inverse += share * share / static_cast<double>(samples[i].size() - 1);
  }
  return TwoSided(sum, std::sqrt(variance), 1 / inverse);
}

}  // namespace prunelab
