// What each channel of each node of a network is in eval mode: live, or which constant picture.
//
// A filter whose weights are all zero gives its bias at every pixel; BN, ReLU, pooling and sums make constants of
// constants; behind a convolution that pads a constant becomes a picture that differs at its border
// (ml/network/border_runs.h). Example, a 3x3 convolution `a` with filter 1 dead, and what follows:
//
//   a     live, 0            bn (beta -1 and 0.5)   live, 0.5          relu   live, 0.5
//   b = 3x3 convolution of it, padding 1: live everywhere, but what channel 1 brings is known beforehand:
//   reached[b][o] = a picture of 3 x 3 different pixels (corners, edges, inside)
//
// Values are computed in float64 from the values that are there.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/compression/weighted_network.h"
#include "ml/network/border_runs.h"

namespace prunelab {

// Pictures of one node's channels: rows and columns that are equal are held once.
struct ChannelPictures {
  at::Tensor values;  // float64 [channels, rows.size(), columns.size()]
  Runs rows, columns;
};

// Those of a constant node, from the tensor that it stores.
ChannelPictures StoredPictures(const Constant& constant, const at::Tensor& value);

struct ChannelAnalysis {
  explicit ChannelAnalysis(const WeightedNetwork& network);

  NetworkInfo info;
  // By node. `live`: bool [channels], whether the channel depends on the image. `needed`: bool [channels], whether
  // anybody who reaches the output reads it.
  std::vector<at::Tensor> live, needed;
  std::vector<ChannelPictures> constants;  // zero where live
  // Of convolutions and linear layers: what constant inputs add to each output, live ones too; the bias is left out.
  std::vector<ChannelPictures> reached;

  // A residual stream is what a sum of two or more live inputs makes, and the node at its start that such a sum and
  // others read. Its width is kept; BN, ReLU, pooling, flatten and scatter pass it on.
  std::vector<bool> carries_stream, starts_stream;
  // An add of two or more inputs with live channels that are needed; another add only passes its live input on.
  bool IsResidualSum(int node) const;
  // Whether node `input` has live channels that are needed of the add `node`.
  bool Contributes(int input, int node) const;
  // Live and needed: bool [channels].
  at::Tensor Kept(int node) const;
  bool AnyKept(int node) const;
};

// The pictures at full size, float64 [channels, height, width].
at::Tensor FullSize(const ChannelPictures& pictures);

// The same pictures with neighbouring rows and columns joined that are equal in all channels.
ChannelPictures Coarsened(const ChannelPictures& pictures);

// The sum of two; a size of 1 is repeated to the other's.
ChannelPictures SumOf(const ChannelPictures& a, const ChannelPictures& b, int64_t height, int64_t width);

}  // namespace prunelab
