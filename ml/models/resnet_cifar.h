// ResNet for CIFAR (He et al., CVPR 2016, section 4.2), with PyTorch's names: conv1, bn1, layer1.0.conv1, ...,
// layer2.0.downsample.0 (conv) and .1 (BN), fc. Depth 56 with projection shortcuts has 855,770 parameters.
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/model_builder.h"
#include "ml/models/resnet_cifar.pb.h"

namespace prunelab {

// Refuses depths other than 6n + 2, sizes below 1, and images too small for the three stages.
absl::StatusOr<Network> CreateResNetCifar(const ResNetCifar& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
