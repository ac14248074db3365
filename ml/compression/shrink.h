// Takes the channels that are not kept (kept_channels.h) out of convolutions, BN and linear layers, and puts the rest
// where a residual stream expects them.
//
//   conv1 [16, 16, 3, 3] -> bn1 -> relu1 -> conv2 [16, 16, 3, 3] -> bn2 -> sum with the stream, 5 and 9 filters live
//     becomes
//   conv1 [5, 16, 3, 3] -> bn1 [5] -> relu1 -> conv2 [9, 5, 3, 3] -> bn2 [9] -> scatter to 16 -> sum with the stream
//
// Constants that dead channels contributed to the sum are stored once, as one more term. FoldConstantInputs runs
// before, so no convolution or linear layer here needs a constant input.
#pragma once

#include "ml/compression/channel_analysis.h"
#include "ml/compression/channel_layout.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// `analysis`: of the network as it is.
void Shrink(WeightedNetwork& network, const ChannelAnalysis& analysis, const ChannelLayout& layout);

}  // namespace prunelab
