// ConvNeXt (Liu et al., CVPR 2022) with the names of torchvision's model: features.0.0 (conv), features.0.1 (norm),
// features.1.0.block.0 (depthwise), .block.2 (norm), .block.3 and .block.5, features.2.1 (downsampling), ...,
// classifier.0 (norm), classifier.2.
//
//   network { [type.googleapis.com/prunelab.ConvNeXt] { variant: TINY } }                       // convnext_tiny
//   network { [type.googleapis.com/prunelab.ConvNeXt] { stem: CIFAR width_multiplier: 0.25 } }  // for small images
//
// Two kinds of tensors have another form than torchvision's, and are read in either: the factors,
// features.1.0.layer_scale.weight [C] (torchvision: features.1.0.layer_scale [C, 1, 1]), and the weights of the 1x1
// convolutions, features.1.0.block.3.weight [out, in, 1, 1] (torchvision's are linear layers, [out, in]).
//
// With 1000 classes TINY has 28,589,128 parameters.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/convnext.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Refuses multipliers that are not from 0.01 to 100, stochastic_depth outside [0, 1), a layer_scale outside [0, 1000]
// and sizes below 1, by field error.
absl::StatusOr<Network> CreateConvNeXt(const ConvNeXt& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
