// The BCa bootstrap interval of a mean (Efron 1987): bias-corrected and accelerated, for samples that are not normal.
//
//   const std::optional<BootstrapInterval> interval = BcaInterval(differences, 0.95);
#pragma once

#include <optional>
#include <vector>

#include "ml/statistics/summary.h"

namespace prunelab {

inline constexpr int64_t kExactBootstrap = 10;

struct BootstrapInterval {
  Interval interval;
  bool exact = false;  // every resample was counted with its probability; else a fixed stream drew 20,000
};

// Needs at least two values. Up to kExactBootstrap values the bootstrap distribution is the exact one (C(2n-1, n)
// distinct resamples). The ends are values of that distribution: the smallest whose cumulative probability reaches the
// level. The bias correction counts resamples equal to the mean as half; the acceleration is the jackknife's.
std::optional<BootstrapInterval> BcaInterval(const std::vector<double>& values, double level);

}  // namespace prunelab
