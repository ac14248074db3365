// A network whose logits do not depend on the image (because a whole layer is dead and no shortcut leads past it)
// becomes the smallest network that outputs these logits:
//
//   image -> conv (dead) -> ... -> fc     becomes     image -> global average -> flatten -> fc of zero weights
//
// The bias is the logits. Of a network that names its outputs, each one that is constant becomes a stored constant,
// whether the others depend on the image or not.
#pragma once

#include "ml/compression/channel_analysis.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// `analysis`: of the network as it is.
void ReplaceConstantOutput(WeightedNetwork& network, const ChannelAnalysis& analysis);

}  // namespace prunelab
