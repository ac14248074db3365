// What a training does to its images: from the config, and whether the data allow it.
#pragma once

#include "absl/status/status.h"
#include "ml/data/batches.h"
#include "ml/data/dataset.h"
#include "ml/training/training.pb.h"

namespace prunelab {

Augmentation AugmentationOf(const Training& config);

// Field errors: crops and colours of images that are no bytes, colours of images without three channels, and random
// parts of images that were cut from their pictures already.
absl::Status CheckAugmentation(const Training& config, const LabelledImages& data);

}  // namespace prunelab
