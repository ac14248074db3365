// Training images set aside for choosing hyperparameters: the same fraction of each class, drawn by a seed.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"

namespace prunelab {

struct ValidationSplit {
  LabelledImages train, validation;  // each in the data's order
};

// int(n * fraction) of each class's n images, but at least one, drawn by `seed`, become validation data. `fraction` is
// in [0, 1); 0 sets nothing aside. One class never affects how another is drawn, and classes without images stay empty.
// Error, of the field "validation_fraction": a class would have no image left to train on.
absl::StatusOr<ValidationSplit> SplitOffValidation(const LabelledImages& data, int64_t classes, double fraction,
                                                   uint64_t seed);

// How many images SplitOffValidation sets aside, which does not depend on the seed; it has the same error.
absl::StatusOr<int64_t> CountValidation(const LabelledImages& data, int64_t classes, double fraction);

}  // namespace prunelab
