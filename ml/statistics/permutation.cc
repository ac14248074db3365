#include "ml/statistics/permutation.h"

#include <algorithm>
#include <cmath>

#include "ml/base/random.h"

namespace prunelab {
namespace {

constexpr double kTolerance = 1e-12;
constexpr double kMaxChoices = 1e6;
constexpr int64_t kDraws = 200000;

}  // namespace

PermutationTest PermuteSamples(const std::vector<double>& treatment, const std::vector<double>& control) {
  PermutationTest test;
  const size_t m = treatment.size(), n = treatment.size() + control.size();
  if (treatment.empty() || control.empty()) return test;
  std::vector<double> values = treatment;
  values.insert(values.end(), control.begin(), control.end());
  // Less their mean, the values sum to 0, so that a choice's difference of means is a multiple of its sum.
  double mean = 0, scale = 0;
  for (const double value : values) mean += (value - values.front()) / static_cast<double>(n);
  const double offset = values.front();
  for (double& value : values) {
    value = value - offset - mean;
    scale += std::abs(value);
  }
  double observed = 0;
  for (size_t i = 0; i < m; ++i) observed += values[i];
  const double bound = std::abs(observed) - kTolerance * std::max(1.0, scale);
  if (bound <= 0) return test;

  double choices = 1;
  for (size_t i = 1; i <= m; ++i) choices *= static_cast<double>(n - m + i) / static_cast<double>(i);
  if (choices <= kMaxChoices) {
    int64_t count = 0, all = 0;
    std::vector<bool> chosen(n, false);
    std::fill(chosen.begin(), chosen.begin() + static_cast<int64_t>(m), true);
    do {
      double sum = 0;
      for (size_t i = 0; i < n; ++i) sum += chosen[i] ? values[i] : 0;
      count += std::abs(sum) >= bound;
      ++all;
    } while (std::prev_permutation(chosen.begin(), chosen.end()));
    test.p = static_cast<double>(count) / static_cast<double>(all);
    return test;
  }
  RandomStream stream(0, "permutation");
  int64_t count = 0;
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    double sum = 0;
    for (size_t i = 0; i < m; ++i) {  // the first m of a shuffle
      std::swap(values[i], values[i + stream.Below(n - i)]);
      sum += values[i];
    }
    count += std::abs(sum) >= bound;
  }
  test.p = static_cast<double>(count + 1) / static_cast<double>(kDraws + 1);
  test.standard_error = std::sqrt(test.p * (1 - test.p) / static_cast<double>(kDraws));
  return test;
}

}  // namespace prunelab
