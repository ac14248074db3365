// What each channel of each node of a network is in eval mode: live, or constant with a known picture.
//
// A filter whose weights are all zero gives its bias at every pixel; BN, ReLU, pooling and sums make constants of
// constants; after a convolution that pads, a constant becomes a picture that differs at its border
// (ml/network/equal_rows.h). Example, a 3x3 convolution `a` with filter 1 dead, and what follows:
//
//   a     live, 0            bn (beta -1 and 0.5)   live, 0.5          relu   live, 0.5
//   b = 3x3 convolution of it, padding 1: live everywhere, but what channel 1 brings is known beforehand:
//   reached[b][o] = a picture of 3 x 3 different pixels (corners, edges, inside)
//
// The operator itself says what it does to its channels (ml/network/operator.h). Values are computed in float64 from
// the network's values.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/compression/weighted_network.h"
#include "ml/network/channel_pictures.h"
#include "ml/network/operator.h"

namespace prunelab {

struct ChannelAnalysis {
  explicit ChannelAnalysis(const WeightedNetwork& network);

  NetworkInfo info;
  // By node: which input channels its channels are made of.
  std::vector<ChannelRelation> relations;
  // By node. `live`: bool [channels], whether the channel depends on the image. `needed`: bool [channels], whether any
  // output depends on the channel as far as it is live.
  std::vector<at::Tensor> live, needed;
  std::vector<ChannelPictures> constants;  // zero where live
  // For convolutions and linear layers: what constant inputs add to each output, including live outputs; without the
  // bias.
  std::vector<ChannelPictures> reached;

  // A residual stream is what a sum of two or more live inputs makes, and the node at its start that such a sum and
  // others read. Its width is kept; operators whose channels are made of single ones (BN, ReLU, pooling, flatten, ...)
  // pass it on. `stream`: bool [channels], by node; `carries_stream`: all of the node's channels.
  std::vector<at::Tensor> stream;
  std::vector<bool> carries_stream, starts_stream;

  // An add of two or more inputs with live channels that are needed. Any other add only passes its live input on.
  bool IsResidualSum(int node) const;
  // Whether input k of a node has live channels that are needed of the node.
  bool Contributes(int node, size_t k) const;
  // The channels of input k that the output channels `outputs` (bool) of a node are made of, as far as their weights
  // are not zero: bool [channels of the input].
  at::Tensor ReadFrom(int node, size_t k, const at::Tensor& outputs) const;
  // Whether the node is a constant node or the flattening of one.
  bool IsStored(int node) const;
  // Whether no channel of the node is live.
  bool IsConstant(int node) const;
  // Constants other than zero that are the same at every pixel: bool [channels].
  at::Tensor IsEven(int node) const;
  // Live and needed: bool [channels].
  at::Tensor Kept(int node) const;
  bool AnyKept(int node) const;

 private:
  class Builder;

  // Of kMixed: which pairs of output and input have any weight that is not zero, bool [groups, out / groups, in /
  // groups]. Of others: the channels that depend on their sources at all; undefined: all.
  std::vector<at::Tensor> pairs_, passes_;
};

}  // namespace prunelab
