// A 3x3 convolution of a network without BN, such as removal and BN folding leave for inference, with what follows it,
// in one pass over memory:
//
//   conv (-> add stored constants) (-> scatter) (-> add the stream and stored constants) (-> ReLU)
//
// by the project's own kernels (ml/kernels/conv3x3/conv3x3.h), whose channels are multiples of eight: weights are
// filled up with zeros, and so is an input, unless the node that wrote it filled it up already.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Nodes by index; -1 where there is none. `other`: what depends on the images and is added.
struct FoldedConv {
  int conv = -1, scatter = -1, relu = -1;
  int input = -1, other = -1, output = -1;
  std::vector<int> inner_constants, constants;  // stored constants added before and after the scatter (or all of them)
  std::vector<int> nodes;                       // all of it, in order
};

// The channels that such a unit has in memory for so many.
inline int64_t FilledUp(int64_t channels) { return (channels + 7) / 8 * 8; }

// Whether convolution `node` of these shapes is one for a FoldedConv: 3x3, stride, dilation and groups 1, padding 1, on
// a processor that has the kernels.
bool CanFoldConv(const Node& node, const NodeShape& input, int64_t filters);

// Adds the step of `unit`, which runs on the CPU, in float, without a graph for backward. `filled_up`: the output has
// FilledUp(channels) channels, the last ones zero. With `other` or a scatter the channels must be a multiple of eight.
void AddFoldedConvStep(PlanBuilder& builder, const FoldedConv& unit, bool filled_up);

}  // namespace prunelab
