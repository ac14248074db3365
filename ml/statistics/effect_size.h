// How large a difference is against the spread of single runs.
#pragma once

#include <optional>
#include <vector>

namespace prunelab {

// Hedges' g of two independent samples: (mean of treatment - mean of control) / pooled sd, times the small-sample
// correction 1 - 3 / (4 (n1 + n2) - 9) (Hedges 1981). From three values in all, two of them in one sample, on. No
// value where there is no spread.
std::optional<double> HedgesG(const std::vector<double>& treatment, const std::vector<double>& control);

}  // namespace prunelab
