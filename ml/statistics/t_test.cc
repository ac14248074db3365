#include "ml/statistics/t_test.h"

#include <algorithm>
#include <boost/math/distributions/students_t.hpp>
#include <cmath>
#include <limits>

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
  if (treatment.size() < 2 || control.size() < 2) return std::nullopt;
  // The same offset taken from both changes no difference and keeps the digits of a small one.
  const double offset = control.front();
  const auto shifted = [&](std::vector<double> values) {
    for (double& value : values) value -= offset;
    return SummarizeSample(values);
  };
  const SampleSummary a = shifted(treatment), b = shifted(control);
  const double variance_a = *a.sd * *a.sd / static_cast<double>(a.n);
  const double variance_b = *b.sd * *b.sd / static_cast<double>(b.n);
  const double variance = variance_a + variance_b;
  // Shares instead of squared variances, which would underflow for tiny ones.
  const double share = variance > 0 ? variance_a / variance : 0.5;
  const double degrees_of_freedom =
      1 / (share * share / static_cast<double>(a.n - 1) + (1 - share) * (1 - share) / static_cast<double>(b.n - 1));
  return TwoSided(a.mean - b.mean, std::sqrt(variance), degrees_of_freedom);
}

}  // namespace prunelab
