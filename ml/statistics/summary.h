// Mean, standard deviation and Student's interval of a sample.
//
//   const SampleSummary summary = SummarizeSample({0.91, 0.93, 0.92});
//   const double half = *StudentHalfWidth(summary, 0.95);  // 0.92 +- 0.0248
//
// Values must be finite throughout ml/statistics. A quantity has no value if the sample is too small for it.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace prunelab {

struct SampleSummary {
  int64_t n = 0;
  double mean = 0;           // 0 for an empty sample
  std::optional<double> sd;  // of the sample (n - 1); needs at least two values
};

struct Interval {
  double low = 0, high = 0;  // infinite if the data exclude nothing
};

// Computed from the values minus the first one, so that an offset of any size costs no digits of the deviation.
SampleSummary SummarizeSample(const std::vector<double>& values);

// Half the width of the interval for the mean at `level` (in (0, 1)): t_{(1+level)/2, n-1} sd / sqrt(n).
std::optional<double> StudentHalfWidth(const SampleSummary& summary, double level);

// `treatment` minus `control`, value by value (of the same seed). Both have the same length.
std::vector<double> Differences(const std::vector<double>& treatment, const std::vector<double>& control);

// Linear interpolation between order statistics, like numpy's default. `sorted` is in ascending order and not empty; q
// is in [0, 1].
template <typename T>
double QuantileOfSorted(const std::vector<T>& sorted, double q) {
  const double at = q * static_cast<double>(sorted.size() - 1);
  const size_t below = static_cast<size_t>(at);
  const size_t above = below + 1 < sorted.size() ? below + 1 : below;
  return sorted[below] + (at - static_cast<double>(below)) * (sorted[above] - sorted[below]);
}

// The middle value, or the mean of the middle two. `values` must not be empty.
double Median(std::vector<double> values);

}  // namespace prunelab
