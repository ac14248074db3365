// Training images set aside for choosing hyperparameters: the same part of each class, drawn by a seed.
#pragma once

#include <cstdint>

#include "ml/data/dataset.h"

namespace prunelab {

struct ValidationSplit {
  LabelledImages train, validation;  // each in the data's order
};

// int(n * fraction) of each class's n images, drawn by `seed`, become validation data; `fraction` is in [0, 1). A class
// never changes how another is drawn.
ValidationSplit SplitOffValidation(const LabelledImages& data, int64_t classes, double fraction, uint64_t seed);

}  // namespace prunelab
