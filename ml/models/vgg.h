// VGG-11/13/16/19 with BN for CIFAR, with the names that PyTorch gives an nn.Sequential: features.0 (conv), features.1
// (BN), features.2 (ReLU), ..., and classifier (linear).
//
//   network { [type.googleapis.com/prunelab.Vgg] { depth: 16 } }
//
// On 32x32 pixels and with its defaults it is the network of github.com/Eric-mingjie/network-slimming (Liu et al., ICCV
// 2017; there "feature" instead of "features"). With conv_bias and last_max_pool it is that of
// github.com/kuangliu/pytorch-cifar, including the names. VGG-16 for 10 classes has 14,724,042 parameters, with biases
// 14,728,266.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/model_builder.h"
#include "ml/models/vgg.pb.h"

namespace prunelab {

// Field errors: other depths, sizes below 1, images too small for the poolings.
absl::StatusOr<Network> CreateVgg(const Vgg& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
