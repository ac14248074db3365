// MobileNetV2 (Sandler et al., CVPR 2018) with the names, shapes and order of torchvision's model, so that its
// state_dict loads without changes: features.0.0 (conv), features.0.1 (BN), features.1.conv.0.0, ..., classifier.1.
//
//   network { [type.googleapis.com/prunelab.MobileNetV2] {} }                                      // mobilenet_v2
//   network { [type.googleapis.com/prunelab.MobileNetV2] { stem: CIFAR width_multiplier: 0.25 } }  // for small images
//
// With 1000 classes it has 3,504,872 parameters, and 300,774,272 multiply-accumulates at 224 pixels.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/mobilenet_v2.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses multipliers that are not from 0.01 to 100, dropout outside [0, 1) and sizes below 1, by field error.
absl::StatusOr<Network> CreateMobileNetV2(const MobileNetV2& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
