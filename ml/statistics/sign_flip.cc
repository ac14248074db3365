#include "ml/statistics/sign_flip.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>

#include "ml/base/check.h"
#include "ml/base/random.h"

namespace prunelab {
namespace {

constexpr double kTolerance = 1e-12;
constexpr int64_t kDraws = 200000;
constexpr double kRankSlack = 1e-9;     // for levels that rounding moved from their intended value
constexpr int64_t kListedSubsets = 18;  // up to this many differences the means of all subsets are listed

double AbsoluteSum(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) sum += std::abs(value);
  return sum;
}

// The sums of sign * value over all choices of signs from `signs`, sorted; there are 2^n.
std::vector<double> SortedSums(const double* begin, const double* end, double first_sign, double second_sign) {
  std::vector<double> sums = {0};
  for (const double* value = begin; value != end; ++value) {
    std::vector<double> first = sums, second = sums;
    for (double& sum : first) sum += first_sign * *value;
    for (double& sum : second) sum += second_sign * *value;
    sums.resize(first.size() * 2);
    std::merge(first.begin(), first.end(), second.begin(), second.end(), sums.begin());
  }
  return sums;
}

// The number of pairs (a of `left`, b of `right`), both sorted, with a + b >= bound.
uint64_t CountAtLeast(const std::vector<double>& left, const std::vector<double>& right, double bound) {
  uint64_t count = 0;
  size_t from = right.size();
  for (const double a : left) {
    while (from > 0 && a + right[from - 1] >= bound) --from;
    count += right.size() - from;
  }
  return count;
}

// The number of subsets of (values - shift), including the empty one, whose sum is at most 0.
uint64_t CountSubsetsAtMost(const std::vector<double>& values, double shift) {
  std::vector<double> negated(values.size());
  for (size_t i = 0; i < values.size(); ++i) negated[i] = shift - values[i];
  const double* middle = negated.data() + negated.size() / 2;
  return CountAtLeast(SortedSums(negated.data(), middle, 0, 1),
                      SortedSums(middle, negated.data() + negated.size(), 0, 1), 0);
}

// The k-th smallest (from 1) of the means of all non-empty subsets. It is found by bisecting its value: the smallest
// shift at which k of the means are not above the shift.
double KthSubsetMean(const std::vector<double>& values, uint64_t k) {
  double low = *std::min_element(values.begin(), values.end());
  double high = *std::max_element(values.begin(), values.end());
  const auto reached = [&](double shift) { return CountSubsetsAtMost(values, shift) - 1 >= k; };
  if (reached(low)) return low;
  for (int step = 0; step < 200; ++step) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (reached(middle) ? high : low) = middle;
  }
  return high;
}

// Calls f(sums, counts) for each of the random splits of the values in two, which are the same for the test and for its
// interval. Index 1 is for the values that keep their sign.
template <typename F>
void ForDrawnSplits(const std::vector<double>& values, F f) {
  RandomStream stream(0, "sign_flip");
  for (int64_t draw = 0; draw < kDraws; ++draw) {
    double sums[2] = {0, 0};
    int64_t counts[2] = {0, 0};
    uint64_t bits = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      if (i % 64 == 0) bits = stream.Next64();
      const int side = static_cast<int>(bits >> (i % 64) & 1);
      sums[side] += values[i];
      ++counts[side];
    }
    f(sums, counts);
  }
}

// The means of the non-empty parts that the values are split into.
std::vector<double> DrawnSubsetMeans(const std::vector<double>& values) {
  std::vector<double> means;
  means.reserve(static_cast<size_t>(2 * kDraws));
  ForDrawnSplits(values, [&](const double* sums, const int64_t* counts) {
    for (const int side : {0, 1}) {
      if (counts[side] > 0) means.push_back(sums[side] / static_cast<double>(counts[side]));
    }
  });
  return means;
}

std::vector<double> AllSubsetMeans(const std::vector<double>& values) {
  std::vector<std::pair<double, int64_t>> subsets = {{0, 0}};
  for (const double value : values) {
    const size_t size = subsets.size();
    for (size_t i = 0; i < size; ++i) subsets.emplace_back(subsets[i].first + value, subsets[i].second + 1);
  }
  std::vector<double> means;
  for (size_t i = 1; i < subsets.size(); ++i)
    means.push_back(subsets[i].first / static_cast<double>(subsets[i].second));
  return means;
}

}  // namespace

double SmallestSignFlipP(int64_t n) {
  return n <= 1 ? 1 : std::ldexp(1.0, static_cast<int>(1 - std::min<int64_t>(n, 1000)));
}

SignFlipTest SignFlip(const std::vector<double>& differences) {
  SignFlipTest test;
  const int64_t n = static_cast<int64_t>(differences.size());
  if (n == 0) return test;
  double sum = 0;
  for (const double difference : differences) sum += difference;
  const double bound = std::abs(sum) - kTolerance * std::max(1.0, AbsoluteSum(differences));
  if (bound <= 0) return test;  // every sum is at least that far from 0
  if (n <= kExactSignFlips) {
    const double* middle = differences.data() + n / 2;
    const uint64_t count = CountAtLeast(SortedSums(differences.data(), middle, 1, -1),
                                        SortedSums(middle, differences.data() + n, 1, -1), bound);
    // Each sign pattern has an opposite one, so as many sums lie below -bound.
    test.p = std::min(1.0, std::ldexp(static_cast<double>(count), static_cast<int>(1 - n)));
    return test;
  }
  int64_t count = 0;
  ForDrawnSplits(differences,
                 [&](const double* sums, const int64_t*) { count += std::abs(sums[1] - sums[0]) >= bound; });
  test.p = static_cast<double>(count + 1) / static_cast<double>(kDraws + 1);  // the observed signs count as one draw
  test.standard_error = std::sqrt(test.p * (1 - test.p) / static_cast<double>(kDraws));
  return test;
}

namespace {

// For a shift below the mean, a sign pattern counts if the subset of flipped values has a mean of at most the shift, so
// p is 2 (1 + the number of such subsets) / 2^n. The lower end is the smallest subset mean at which that exceeds 1 -
// level. The upper end is the lower end of the opposite differences.
Interval InvertedTest(const std::vector<double>& differences, double alpha) {
  const int64_t n = static_cast<int64_t>(differences.size());
  const double infinity = std::numeric_limits<double>::infinity();
  const Interval everything = {-infinity, infinity};
  if (n == 0) return everything;
  // A level such as 1 - 0.05 / 5 is not exact: if alpha 2^(n-1) is a whole number except for rounding, a whole number
  // is meant.
  const auto rank = [&](double signs) { return static_cast<uint64_t>(std::floor(alpha * signs * (1 + kRankSlack))); };
  const auto kth_of_each_end = [](std::vector<double> means, uint64_t k) {
    const auto kth = means.begin() + static_cast<int64_t>(k - 1);
    std::nth_element(means.begin(), kth, means.end());
    const double low = *kth;
    std::nth_element(means.begin(), kth, means.end(), std::greater<>());
    return Interval{low, *kth};
  };
  if (n <= kExactSignFlips) {
    const uint64_t k = rank(std::ldexp(1.0, static_cast<int>(n - 1)));
    if (k == 0) return everything;
    if (n <= kListedSubsets) return kth_of_each_end(AllSubsetMeans(differences), k);
    std::vector<double> opposite = differences;
    for (double& value : opposite) value = -value;
    return {KthSubsetMean(differences, k), -KthSubsetMean(opposite, k)};
  }
  const uint64_t k = rank(static_cast<double>(kDraws + 1));
  std::vector<double> means = DrawnSubsetMeans(differences);
  if (k == 0 || k > means.size()) return everything;
  return kth_of_each_end(std::move(means), k);
}

}  // namespace

Interval SignFlipInterval(const std::vector<double>& differences, double level) {
  PRUNELAB_CHECK(level > 0 && level < 1) << level;
  const double alpha = 1 - level;
  Interval interval = InvertedTest(differences, alpha);
  // The test treats sums that differ from 0 by rounding alone as ties, so an end that is such a mean is 0.
  if ((interval.low > 0 || interval.high < 0) && SignFlip(differences).p > alpha * (1 + kRankSlack)) {
    (interval.low > 0 ? interval.low : interval.high) = 0;
  }
  return interval;
}

}  // namespace prunelab
