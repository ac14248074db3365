// A 3x3 convolution of a network without BN, such as removal and BN folding leave for inference, with what follows it,
// in one pass over memory:
//
//   conv (-> add stored constants) (-> scatter) (-> add the stream and stored constants) (-> ReLU)
//
// by the project's own kernels (ml/kernels/conv3x3/conv3x3.h), whose channels are multiples of eight: weights are
// filled up with zeros, and so is an input, unless the node that wrote it filled it up already.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

// Nodes by index; -1 where there is none. `other`: what depends on the images and is added.
struct FoldedConv {
  int conv = -1, scatter = -1, relu = -1;
  int input = -1, other = -1, output = -1;
  std::vector<int> inner_constants, constants;  // stored constants added before and behind the scatter (or all of them)
  std::vector<int> nodes;                       // all of it, in order
};

// The channels that such a unit has in memory for so many.
inline int64_t FilledUp(int64_t channels) { return (channels + 7) / 8 * 8; }

// Whether convolution `node` of these shapes is one for a FoldedConv: 3x3, stride, dilation and groups 1, padding 1, on
// a processor that has the kernels.
bool CanFoldConv(const Node& node, const NodeShape& input, int64_t filters);

// What a FoldedConv reads.
struct FoldedConvInputs {
  at::Tensor x;                                        // [N, channels, H, W], or filled up with zeros
  at::Tensor addend;                                   // of `other`; undefined where there is none
  bool overwrite_addend = false;                       // nobody else needs it and it may become the output
  std::vector<at::Tensor> inner_constants, constants;  // [1, channels, 1 or H, 1 or W]
};

// The output of `unit`, on the CPU, in float, without a graph for backward: [N, channels, H, W] channels_last, with
// FilledUp(channels) channels where `filled_up` (the last ones zero). With `other` or a scatter the channels must be a
// multiple of eight.
at::Tensor RunFoldedConv(const Model& model, const FoldedConv& unit, const FoldedConvInputs& inputs, bool filled_up);

}  // namespace prunelab
