#include "ml/statistics/bootstrap.h"

#include <algorithm>
#include <boost/math/distributions/normal.hpp>
#include <cmath>
#include <utility>

#include "ml/base/check.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

constexpr int64_t kDraws = 20000;

// (mean, probability) of every distinct resample of `values`.
std::vector<std::pair<double, double>> AllResamples(const std::vector<double>& values) {
  const int64_t n = static_cast<int64_t>(values.size());
  std::vector<double> factorials = {1};
  for (int64_t i = 1; i <= n; ++i) factorials.push_back(factorials.back() * static_cast<double>(i));
  const double all = std::pow(static_cast<double>(n), static_cast<double>(n));
  std::vector<std::pair<double, double>> resamples;
  std::vector<int64_t> counts(values.size(), 0);
  // All ways to write n as a sum of counts, in lexicographic order.
  const auto visit = [&](const auto& self, size_t index, int64_t left, double sum, double ways) -> void {
    if (index + 1 == values.size()) {
      sum += static_cast<double>(left) * values[index];
      resamples.emplace_back(sum / static_cast<double>(n), ways / factorials[static_cast<size_t>(left)] / all);
      return;
    }
    for (int64_t count = 0; count <= left; ++count) {
      self(self, index + 1, left - count, sum + static_cast<double>(count) * values[index],
           ways / factorials[static_cast<size_t>(count)]);
    }
  };
  visit(visit, 0, n, 0, factorials[static_cast<size_t>(n)]);
  return resamples;
}

std::vector<std::pair<double, double>> DrawnResamples(const std::vector<double>& values) {
  RandomStream stream(0, "bootstrap");
  std::vector<std::pair<double, double>> resamples;
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    double sum = 0;
    for (size_t i = 0; i < values.size(); ++i) sum += values[stream.Below(values.size())];
    resamples.emplace_back(sum / static_cast<double>(values.size()), 1.0 / static_cast<double>(kDraws));
  }
  return resamples;
}

}  // namespace

std::optional<BootstrapInterval> BcaInterval(const std::vector<double>& values, double level) {
  PRUNELAB_CHECK(level > 0 && level < 1) << level;
  const SampleSummary summary = SummarizeSample(values);
  if (!summary.sd) return std::nullopt;
  BootstrapInterval result;
  result.exact = summary.n <= kExactBootstrap;
  if (*summary.sd == 0) {
    result.interval = {summary.mean, summary.mean};
    return result;
  }
  // Subtract the first value, so that an offset costs no digits; it is added again at the end.
  const double offset = values.front();
  std::vector<double> shifted = values;
  for (double& value : shifted) value -= offset;
  const double mean = SummarizeSample(shifted).mean;
  std::vector<std::pair<double, double>> resamples = result.exact ? AllResamples(shifted) : DrawnResamples(shifted);
  std::sort(resamples.begin(), resamples.end());

  const boost::math::normal normal;
  const double tolerance = 1e-12 * *summary.sd;
  double below = 0;
  for (const auto& [value, probability] : resamples) {
    if (value < mean - tolerance)
      below += probability;
    else if (value <= mean + tolerance)
      below += probability / 2;
  }
  const double bias = boost::math::quantile(normal, below);
  double squares = 0, cubes = 0;
  for (const double value : shifted) {
    const double influence = value - mean;  // of the jackknife, up to a factor
    squares += influence * influence;
    cubes += influence * influence * influence;
  }
  const double acceleration = cubes / (6 * std::pow(squares, 1.5));
  const auto end = [&](double tail) {
    const double z = bias + boost::math::quantile(normal, tail);
    const double probability = boost::math::cdf(normal, bias + z / (1 - acceleration * z));
    double sum = 0;
    for (const auto& [value, share] : resamples) {
      sum += share;
      if (sum >= probability) return value + offset;
    }
    return resamples.back().first + offset;
  };
  result.interval = {end((1 - level) / 2), end((1 + level) / 2)};
  return result;
}

}  // namespace prunelab
