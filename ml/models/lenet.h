// LeNet-300-100 and LeNet-5 (LeCun et al., "Gradient-based learning applied to document recognition", Proceedings of
// the IEEE 86, 1998), the networks in which Han et al. (NIPS 2015, ICLR 2016) prune first.
//
//   network { [type.googleapis.com/prunelab.LeNet] { kind: LENET_5 padding: 2 } }
//
// LENET_300_100: fc1, relu1, fc2, relu2, fc3. LENET_5, as in Caffe's examples/mnist: conv1, pool1, conv2, pool2, fc1,
// relu1, fc2; there is no nonlinearity but the pooling between its convolutions. On 28x28 pixels and for ten classes
// they have 266,610 and 431,080 parameters.
//
// Fresh weights have the variance of Caffe's "xavier", which its LeNet starts from: one over the inputs of an output.
//
// Masks belong to convolutions here, so the fully connected layers are 1x1 convolutions of one pixel, and their weights
// [out, in, 1, 1]. The weights [out, in] of an nn.Linear are read in their place (ml/execution/checkpoint.h). The
// filters of the last layer are the classes: a strategy that masks filters should leave it out, by layers { exclude:
// "fc3" } or "fc2".
#pragma once

#include "absl/status/statusor.h"
#include "ml/models/lenet.pb.h"
#include "ml/models/model_builder.h"

namespace prunelab {

// Field errors: sizes below 1, a padding that is negative or above 2 or that LENET_300_100 has no use for, images too
// small for LENET_5.
absl::StatusOr<Network> CreateLeNet(const LeNet& parameters, const ImageDefaults& defaults);

}  // namespace prunelab
