// The sign-flip test of paired differences: if treatment and control are exchangeable for each seed, every difference
// could just as well have the other sign. The test is exact for any distribution, and honest about few seeds: with n
// differences no p is smaller than 2 / 2^n.
//
//   const SignFlipTest test = SignFlip(differences);                         // p
//   const Interval interval = SignFlipInterval(differences, 1 - 0.05 / k);   // the test inverted
//
// Up to kExactSignFlips differences all 2^n sign patterns are counted (two sorted halves meet in the middle). Beyond
// that a fixed stream of random signs is drawn, the same for the test and for its interval, and the standard error of p
// is given.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/statistics/summary.h"

namespace prunelab {

inline constexpr int64_t kExactSignFlips = 32;

struct SignFlipTest {
  double p = 1;
  double standard_error = 0;  // of p if signs were drawn; 0: exact
};

// Two-sided: the share of sign patterns whose sum is at least as far from 0 as the observed one, minus 1e-12 (relative
// for sums above 1), so that ties still count if rounding broke them. 1 without differences.
SignFlipTest SignFlip(const std::vector<double>& differences);

// All shifts d for which the test of (differences - d) has p > 1 - level. This interval belongs to the test's verdict
// at 1 - level: it excludes 0 exactly where the test's p is at most 1 - level. Its ends are means of subsets of the
// differences, or 0 where such a mean differs from 0 by rounding alone. It is infinite where no p is small enough.
Interval SignFlipInterval(const std::vector<double>& differences, double level);

// 2 / 2^n; 1 for n = 0.
double SmallestSignFlipP(int64_t n);

}  // namespace prunelab
