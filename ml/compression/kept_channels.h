// Which channels each node of a network keeps when it is shrunk.
//
// Nodes that pass channels on one by one (conv -> bn -> relu -> pool) keep the same ones: those that are live and
// needed at any of these nodes. A residual stream, the image and the output keep all their channels, and so does
// everything that is added to a stream of features. A grouped convolution loses whole groups (a depthwise one single
// channels), and from each group that stays equally many channels, on either side: as many as from the group that can
// spare least. Channels that are kept only for that are dead.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "ml/compression/channel_analysis.h"
#include "ml/compression/channel_layout.h"

namespace prunelab {

// By node, bool [channels]: the channels that the node itself computes. A node that starts a residual stream computes
// these and is widened afterwards. Nodes that are not needed at all keep none.
//
// `layout`: dead channels are kept until the number of channels is a multiple of what it says or all are
// kept, and where it asks for full streams, what is added to one keeps all channels. Of the dead ones those
// come first whose constants are the largest: one of them can carry what constants bring to the convolution after it
// (constant_inputs.h).
//
// `constants`: whether the constants stay, too, that convolutions of one group still meet with weights other than zero.
// Before these are folded (constant_inputs.h), they do not.
enum class ReadConstants { kGo, kStay };
std::vector<at::Tensor> KeptChannels(const ChannelAnalysis& analysis, const ChannelLayout& layout,
                                     ReadConstants constants);

}  // namespace prunelab
