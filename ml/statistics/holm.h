// Holm's correction (1979): the probability of one or more false alarms among all comparisons stays at the level.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

struct HolmAdjusted {
  double p = 1;  // adjusted: compare with the level itself
  // The comparison's own divisor is m for the smallest raw p, m - 1 for the next, ...; equal p's share the larger one.
  // But if divisor * raw p <= level, so that the comparison alone would be rejected, and Holm's procedure has stopped
  // at a smaller p before, this is the divisor at which it stopped. So divisor * raw p <= level exactly where the
  // adjusted p <= level.
  int64_t divisor = 1;
};

// In the given order. p_adjusted of rank i (from 0, ascending) is the maximum of min(1, (m - j) p_j) over j <= i.
// `level`: what the adjusted p are compared with.
std::vector<HolmAdjusted> Holm(const std::vector<double>& p, double level);

}  // namespace prunelab
