// A 3x3 convolution of a network without BN, which removal and BN folding produce for inference, with the nodes that
// follow it, in one pass over memory:
//
//   conv (-> add stored constants) (-> scatter) (-> add the stream and stored constants) (-> ReLU)
//
// It uses the project's own kernels (ml/kernels/conv3x3/conv3x3.h), whose channels are multiples of eight: weights are
// padded with zeros, and so are an input and a stream, unless the node that wrote it has already padded it.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Nodes by index; -1 if there is none. `other`: a node that depends on the images and is added.
struct FoldedConv {
  int conv = -1, scatter = -1, relu = -1;
  int input = -1, other = -1, output = -1;
  std::vector<int> inner_constants, constants;  // stored constants added before and after the scatter (or all of them)
  std::vector<int> nodes;                       // all of it, in order
};

// The number of channels that such a unit has in memory for this many channels.
inline int64_t FilledUp(int64_t channels) { return (channels + 7) / 8 * 8; }

// Whether convolution `node` with these shapes can be a FoldedConv: 3x3, stride, dilation and groups 1, padding 1, on a
// processor that has the kernels.
bool CanFoldConv(const Node& node, const NodeShape& input, int64_t filters);

// Adds the step of `unit`, which runs on the CPU, in float, without a graph for backward. `filled_up`: the output has
// FilledUp(channels) channels, the last ones zero; so may what it reads, its input and `other`.
void AddFoldedConvStep(PlanBuilder& builder, const FoldedConv& unit, bool filled_up);

}  // namespace prunelab
