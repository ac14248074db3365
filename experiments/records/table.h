// The table at the end of an ablation: arm by measures, mean and standard deviation over seeds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "experiments/records/records.h"

namespace prunelab {

// One row per arm, in the given order. Diverged runs are counted in a column and left out of the means; failed and
// missing ones are left out. A single run has no standard deviation.
std::string ResultsTable(const std::vector<std::string>& arms, const std::vector<RunResult>& results);

// The mean of the values, and the sample standard deviation (n - 1) if there are two or more. Must not be empty.
struct MeanAndDeviation {
  double mean = 0;
  std::optional<double> deviation;
};
MeanAndDeviation Summary(const std::vector<double>& values);

// Rows of cells as text in aligned columns, the first column aligned left, the others right.
std::string Aligned(const std::vector<std::vector<std::string>>& rows);

}  // namespace prunelab
