// EfficientNet (Tan and Le, ICML 2019) and EfficientNetV2 (Tan and Le, ICML 2021) with the names, shapes and order of
// torchvision's models, so that their state_dicts load without changes: features.0.0 (conv), features.0.1 (BN),
// features.1.0.block.0.0, features.1.0.block.1.fc1 (a gate's), ..., classifier.1.
//
//   network { [type.googleapis.com/prunelab.EfficientNet] { variant: B0 } }                // efficientnet_b0
//   network { [type.googleapis.com/prunelab.EfficientNet] { stem: CIFAR width_multiplier: 0.5 } }
//
// With 1000 classes B0 has 5,288,548 parameters, V2_S 21,458,488. Initial weights are torchvision's, except that those
// of the linear layer are normal, of the same variance, instead of uniform.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/efficientnet.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses multipliers that are not from 0.01 to 100, probabilities outside [0, 1) and sizes below 1, by field error.
absl::StatusOr<Network> CreateEfficientNet(const EfficientNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
