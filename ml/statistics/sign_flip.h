// The sign-flip test of paired differences: under "treatment and control are exchangeable for each seed" every
// difference might as well have the other sign. Exact whatever the distribution, and honest about few seeds: of n
// differences no p is smaller than 2 / 2^n.
//
//   const SignFlipTest test = SignFlip(differences);                         // p
//   const Interval interval = SignFlipInterval(differences, 1 - 0.05 / k);   // the test inverted
//
// Up to kExactSignFlips differences all 2^n signs are counted (two halves, sorted, meet in the middle); beyond, a fixed
// stream of random signs is drawn, the same for the test and for its interval, and the p's standard error is stated.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/statistics/summary.h"

namespace prunelab {

inline constexpr int64_t kExactSignFlips = 32;

struct SignFlipTest {
  double p = 1;
  double standard_error = 0;  // of p where it was drawn; 0: exact
};

// Two-sided: the share of signs whose sum is at least as far from 0 as the observed one, less 1e-12 (relative for sums
// above 1), so that ties which rounding broke still count. 1 without differences.
SignFlipTest SignFlip(const std::vector<double>& differences);

// All shifts d for which the test of (differences - d) has p > 1 - level: the interval that the test's verdict at
// 1 - level goes with: it excludes 0 exactly where the test's p is at most 1 - level. Its ends are means of subsets of
// the differences, or 0 where one differs from 0 by rounding alone. Infinite where no p is small enough.
Interval SignFlipInterval(const std::vector<double>& differences, double level);

// 2 / 2^n; 1 for n = 0.
double SmallestSignFlipP(int64_t n);

}  // namespace prunelab
