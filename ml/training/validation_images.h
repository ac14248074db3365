// Which of a data set's training images a training sets aside for validation.
#pragma once

#include "absl/status/statusor.h"
#include "ml/data/dataset.h"
#include "ml/data/validation_split.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// By validation_fraction and validation_seed. Both parts are empty where nothing is set aside: then all images are
// trained on. Error: SplitOffValidation's, of the field "validation_fraction".
inline absl::StatusOr<ValidationSplit> ValidationSplitOf(const Training& training, const Dataset& dataset) {
  if (training.validation_fraction() == 0) return ValidationSplit();
  return SplitOffValidation(dataset.train, dataset.info.classes, training.validation_fraction(),
                            static_cast<uint64_t>(training.validation_seed()));
}

}  // namespace prunelab
