// What constant inputs bring to a convolution or linear layer is known beforehand: it is added behind, and the weights
// that met them become zero. Then nobody needs those inputs any more.
//
//   x: live, 0.5 -> fc                       becomes   fc with weight[:, 1] = 0, bias += 0.5 * weight[:, 1]
//   x: live, 0.5 -> 3x3 conv, padding 1      becomes   conv with weight[:, 1] = 0 -> sum with a constant
//
// where the constant holds one number for each pixel that differs (channel_analysis.h), only of filters that met one.
// Inputs from a residual stream stay as they are: the stream carries its constants. So do those of a grouped
// convolution: a group stays or goes as a whole, so a constant channel beside a live one is computed all the same, and
// to store what it brings would only make the network larger.
#pragma once

#include "ml/compression/weighted_network.h"

namespace prunelab {

void FoldConstantInputs(WeightedNetwork& network);

}  // namespace prunelab
