// Holm's correction (1979): the chance of one false alarm or more among all comparisons stays at the level.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

struct HolmAdjusted {
  double p = 1;  // adjusted: compare with the level itself
  int64_t divisor =
      1;  // the comparison's: m for the smallest raw p, m - 1 for the next, ...; equal p's share the larger
};

// In the order given. p_adjusted of rank i (from 0, ascending) is the maximum of min(1, (m - j) p_j) over j <= i.
std::vector<HolmAdjusted> Holm(const std::vector<double>& p);

}  // namespace prunelab
