// ShuffleNetV2 (Ma et al., ECCV 2018) with the names, shapes and order of torchvision's model, so that its state_dict
// loads without changes: conv1.0, conv1.1, stage2.0.branch1.0, stage2.0.branch2.0, ..., conv5.0, fc.
//
//   network { [type.googleapis.com/prunelab.ShuffleNetV2] {} }                             // shufflenet_v2_x1_0
//   network { [type.googleapis.com/prunelab.ShuffleNetV2] { variant: X0_5 stem: CIFAR } }  // for small images
//
// With 1000 classes X1_0 has 2,278,604 parameters. Initial weights of convolutions are normal, of the variance of
// torchvision's uniform ones.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/model_builder.h"
#include "ml/models/shufflenet_v2.pb.h"

namespace prunelab {

// Refuses sizes below 1, by field error.
absl::StatusOr<Network> CreateShuffleNetV2(const ShuffleNetV2& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
