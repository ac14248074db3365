// How large a difference is compared with the spread of single runs.
#pragma once

#include <optional>
#include <vector>

namespace prunelab {

// Hedges' g of two independent samples: (mean of treatment - mean of control) / pooled sd, times the small-sample
// correction 1 - 3 / (4 (n1 + n2) - 9) (Hedges 1981). Needs at least three values in total, two of them in one sample.
// No value if there is no spread.
std::optional<double> HedgesG(const std::vector<double>& treatment, const std::vector<double>& control);

// The same for a weighted sum of means (the weights sum to 0) over the sd pooled from all samples, with the correction
// 1 - 3 / (4 df - 1) of the pooled degrees of freedom df. Two samples with weights 1 and -1 are HedgesG.
std::optional<double> HedgesGContrast(const std::vector<std::vector<double>>& samples,
                                      const std::vector<double>& weights);

}  // namespace prunelab
