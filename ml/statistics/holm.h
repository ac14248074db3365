// Holm's correction (1979): the chance of one false alarm or more among all comparisons stays at the level.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

struct HolmAdjusted {
  double p = 1;  // adjusted: compare with the level itself
  // The comparison's own: m for the smallest raw p, m - 1 for the next, ...; equal p's share the larger. Where that
  // alone would refuse, divisor * raw p <= level, but a smaller p has ended Holm's procedure before: the divisor that
  // ended it. So divisor * raw p <= level exactly where the adjusted p is.
  int64_t divisor = 1;
};

// In the order given. p_adjusted of rank i (from 0, ascending) is the maximum of min(1, (m - j) p_j) over j <= i.
// `level`: what the adjusted p are to be compared with.
std::vector<HolmAdjusted> Holm(const std::vector<double>& p, double level);

}  // namespace prunelab
