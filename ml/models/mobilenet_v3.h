// MobileNetV3 (Howard et al., ICCV 2019) with the names, shapes and order of torchvision's model, so that its
// state_dict loads without changes: features.0.0 (conv), features.0.1 (BN), features.1.block.0.0, ...,
// features.4.block.2.fc1 (a gate's), ..., classifier.0, classifier.3.
//
//   network { [type.googleapis.com/prunelab.MobileNetV3] { variant: SMALL } }              // mobilenet_v3_small
//   network { [type.googleapis.com/prunelab.MobileNetV3] { variant: SMALL stem: CIFAR } }  // for small images
//
// With 1000 classes LARGE has 5,483,032 parameters, SMALL 2,542,856.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/mobilenet_v3.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses multipliers that are not from 0.01 to 100, dropout outside [0, 1) and sizes below 1, by field error.
absl::StatusOr<Network> CreateMobileNetV3(const MobileNetV3& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
