// The fields `mean` and `stddev` that data sets have in common.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"

namespace prunelab {

// What holds where a person gives no numbers.
struct NormalizationDefaults {
  double scale = 1.0 / 255;
  double mean = 0.5, stddev = 0.5;
};

// Errors of the fields "mean" and "stddev": neither none nor `channels` numbers, not finite, a deviation not above 0.
absl::StatusOr<Normalization> ChooseNormalization(const std::vector<double>& mean, const std::vector<double>& stddev,
                                                  int64_t channels, const NormalizationDefaults& defaults);

}  // namespace prunelab
