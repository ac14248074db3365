// What a number of seeds can show, before they are run.
//
//   const std::optional<double> difference = DetectableDifference(10, 0.004, 0.05 / 5, 0.8);  // in the sd's unit
//
// `sd` is that of the paired differences. Power is the paired t-test's (noncentral t), which the sign-flip test comes
// close to, but nothing is detectable where the sign-flip test's smallest p is above alpha.
#pragma once

#include <cstdint>
#include <optional>

namespace prunelab {

// The power of the two-sided paired t-test at `alpha` with n seeds, for a true mean difference of effect * sd. From n =
// 2 on.
double PairedPower(int64_t n, double effect, double alpha);

// The smallest true difference that n seeds detect with probability `power`, or no value where they can detect none.
std::optional<double> DetectableDifference(int64_t n, double sd, double alpha, double power);

// The smallest number of seeds with which the sign-flip test can reach `alpha`.
int64_t SeedsToReach(double alpha);

// The smallest number of seeds that detect a true difference with probability `power`, or no value where a million are
// too few (or the difference is 0).
std::optional<int64_t> SeedsToDetect(double difference, double sd, double alpha, double power);

// The smallest number of seeds that show, by TOST at 0.05, that a true difference lies within the margin, with at least
// the probability `power` (the two tests' powers less 1); no value where it does not or a million are too few.
std::optional<int64_t> SeedsForEquivalence(double difference, double margin, double sd, double power);

}  // namespace prunelab
