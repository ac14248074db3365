// DenseNet (Huang et al., CVPR 2017) with the names, shapes and order of torchvision's model, so that its state_dict
// loads without changes: features.conv0, features.denseblock1.denselayer1.norm1, ..., features.norm5, classifier.
//
//   network { [type.googleapis.com/prunelab.DenseNet] { depth: 121 } }                             // densenet121
//   network { [type.googleapis.com/prunelab.DenseNet] { stem: CIFAR depth: 100 } }                 // DenseNet-BC, k =
//   12 network { [type.googleapis.com/prunelab.DenseNet] { stem: CIFAR depth: 40 bottleneck: false } }  // plain, k =
//   12
//
// With 1000 classes densenet121 has 7,978,856 parameters; DenseNet-BC-100 has 769,162 with 10 classes, the plain
// DenseNet-40 1,019,722.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/densenet.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses depths that the stem does not have, a growth or sizes below 1, and dropout outside [0, 1), by field error.
absl::StatusOr<Network> CreateDenseNet(const DenseNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
