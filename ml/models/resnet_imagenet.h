// ResNet-18/34/50/101/152 (He et al., CVPR 2016) with the names, shapes and order of torchvision's models, so that
// their state_dicts load without changes: conv1, bn1, layer1.0.conv1, layer1.0.downsample.0 (conv) and .1 (BN), ...,
// fc.
//
//   network { [type.googleapis.com/prunelab.ResNetImageNet] { depth: 50 } }              // torchvision's resnet50
//   network { [type.googleapis.com/prunelab.ResNetImageNet] { depth: 18 stem: CIFAR } }  // as often used on CIFAR
//
// Numbers of parameters with 1000 classes: 11,689,512; 21,797,672; 25,557,032; 44,549,160; 60,192,808. ResNet-18 with
// the CIFAR stem and 10 classes has 11,173,962.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/model_builder.h"
#include "ml/models/resnet_imagenet.pb.h"

namespace prunelab {

// Refuses other depths and sizes below 1, by field error.
absl::StatusOr<Network> CreateResNetImageNet(const ResNetImageNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
