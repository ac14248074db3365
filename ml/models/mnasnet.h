// MnasNet-B1 (Tan et al., CVPR 2019) with the names, shapes and order of torchvision's model, so that its state_dict
// loads without changes: layers.0 (conv), layers.1 (BN), layers.8.0.layers.0, ..., classifier.1.
//
//   network { [type.googleapis.com/prunelab.MnasNet] {} }                                      // mnasnet1_0
//   network { [type.googleapis.com/prunelab.MnasNet] { stem: CIFAR width_multiplier: 0.25 } }  // for small images
//
// With 1000 classes it has 4,383,312 parameters. Initial weights are torchvision's, except that those of the linear
// layer are normal, of the same variance, instead of uniform.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/mnasnet.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses multipliers that are not from 0.01 to 100, dropout outside [0, 1) and sizes below 1, by field error.
absl::StatusOr<Network> CreateMnasNet(const MnasNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
