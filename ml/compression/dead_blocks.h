// Removes parts without effect: branches of a sum that carry no image, and nodes without consumers.
//
//   relu(sum(x, bn(conv(...))))  with the last convolution dead   becomes   relu(sum(x, constant)), or relu(x)
//   relu(relu(x))                                                 becomes   relu(x)
//   sum(sum(x, constant), constant)                               becomes   sum(x, constant)
//
// The block's other nodes then have no consumer and are removed, too.
#pragma once

#include "ml/compression/channel_analysis.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// `analysis`: of the network as it is.
void DropDeadBlocks(WeightedNetwork& network, const ChannelAnalysis& analysis);

// Removes nodes that do not lead to an output; the image stays.
void DropUnusedNodes(WeightedNetwork& network);

}  // namespace prunelab
