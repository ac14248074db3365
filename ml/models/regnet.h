// RegNet (Radosavovic et al., CVPR 2020) with the names, shapes and order of torchvision's model, so that its
// state_dict loads without changes: stem.0, trunk_output.block1.block1-0.proj.0, trunk_output.block1.block1-0.f.a.0,
// ..., fc.
//
//   network { [type.googleapis.com/prunelab.RegNet] { variant: Y_400MF } }              // regnet_y_400mf
//   network { [type.googleapis.com/prunelab.RegNet] { variant: X_400MF stem: CIFAR } }  // for small images
//   network { [type.googleapis.com/prunelab.RegNet] {                                   // one of your own
//     stem: CIFAR depth: 8 initial_width: 16 slope: 8 width_step: 2 group_width: 8 } }
//
// With 1000 classes regnet_x_400mf has 5,495,976 parameters, regnet_y_400mf 4,344,144.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/model_builder.h"
#include "ml/models/regnet.pb.h"

namespace prunelab {

// Refuses parameters that are outside the ranges of regnet.proto, and sizes below 1, by field error.
absl::StatusOr<Network> CreateRegNet(const RegNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
