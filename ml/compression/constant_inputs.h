// What constant inputs contribute to a convolution or linear layer is known in advance. It is added after the layer,
// and the weights that met these inputs become zero. Then no node needs these inputs any more.
//
//   x: live, 0.5 -> fc                       becomes   fc with weight[:, 1] = 0, bias += 0.5 * weight[:, 1]
//   x: live, 0.5 -> 3x3 conv, padding 1      becomes   conv with weight[:, 1] = 0 -> sum with a constant
//
// where the constant stores one number for each pixel that differs (channel_analysis.h), only for filters that met a
// constant. Where the layout keeps a dead channel that is a constant other than zero, no constant is stored: the
// weights that met constants are summed into those that meet this one, which carries what all of them bring.
//
//   x: live, 0.5, 2 (kept) -> 3x3 conv       becomes   conv with weight[:, 2] += 0.25 * weight[:, 1], weight[:, 1] = 0
//
// Inputs from a residual stream stay as they are, because the stream carries its constants. So do inputs of a
// grouped convolution, unless each of its groups can lose one: groups are equally wide, so a constant channel would be
// computed anyway, and storing its contribution would only make the network larger.
#pragma once

#include "ml/compression/channel_analysis.h"
#include "ml/compression/channel_layout.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// `analysis`: of the network as it is.
void FoldConstantInputs(WeightedNetwork& network, const ChannelAnalysis& analysis, const ChannelLayout& layout);

}  // namespace prunelab
