// The fields `mean` and `stddev`, which several data sets have.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"

namespace prunelab {

// The values that are used if a config gives none.
struct NormalizationDefaults {
  double scale = 1.0 / 255;
  double mean = 0.5, stddev = 0.5;
};

// Errors of the fields "mean" and "stddev": the number of values is neither 0 nor `channels`, a value is not finite, or
// a deviation is not above 0.
absl::StatusOr<Normalization> ChooseNormalization(const std::vector<double>& mean, const std::vector<double>& stddev,
                                                  int64_t channels, const NormalizationDefaults& defaults);

}  // namespace prunelab
