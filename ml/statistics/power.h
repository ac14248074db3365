// What a given number of seeds can show, before they are run.
//
//   const std::optional<double> difference = DetectableDifference(10, 0.004, 0.05 / 5, 0.8);  // in the sd's unit
//
// `sd` is that of the paired differences. Power is the paired t-test's (noncentral t), which the sign-flip test comes
// close to. But nothing is detectable if the sign-flip test's smallest p is above alpha.
#pragma once

#include <cstdint>
#include <optional>

namespace prunelab {

// The power of the two-sided paired t-test at `alpha` with n seeds, for a true mean difference of effect * sd. n is at
// least 2.
double PairedPower(int64_t n, double effect, double alpha);

// The smallest true difference that n seeds detect with probability `power`, or no value if they can detect none.
std::optional<double> DetectableDifference(int64_t n, double sd, double alpha, double power);

// The smallest number of seeds with which the sign-flip test can reach `alpha`.
int64_t SeedsToReach(double alpha);

// The smallest number of seeds that detect a true difference with probability `power`, or no value if a million are too
// few (or the difference is 0).
std::optional<int64_t> SeedsToDetect(double difference, double sd, double alpha, double power);

// The smallest number of seeds that show, by TOST at 0.05, that a true difference lies within the margin, with at least
// the probability `power` (the two tests' powers minus 1). No value if it does not lie within, or if a million are too
// few.
std::optional<int64_t> SeedsForEquivalence(double difference, double margin, double sd, double power);

}  // namespace prunelab
