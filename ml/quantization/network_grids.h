// The passes by which a network gets grids: what quantization after training (quantize.h) and in training
// (quantized_training.h) have in common.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/compression/weighted_network.h"
#include "ml/network/network.h"
#include "ml/quantization/ranges.h"

namespace prunelab {

// What is left of BN once it is folded, and scales by channel, become depthwise convolutions of one pixel, which
// integers can express.
void MakeConvolutions(WeightedNetwork& network);

// By node of a network without BN, whether its values are put on a grid: the images and the result of each operator,
// but
//   - of an operator before a ReLU or Clip that alone reads it, only what comes after that;
//   - not what only moves values about that lie on a grid;
//   - not the result of a last linear layer or convolution.
std::vector<bool> NodesForGrids(const NetworkInfo& info);

// Appends a FakeQuantize node of so many bits after each of these nodes.
void InsertGrids(WeightedNetwork& network, const std::map<std::string, Grid>& grids, int64_t bits);

// How weights are put on their grids.
struct WeightGrids {
  int64_t bits = 8;
  RangeMethod method = RangeMethod::kMinMax;
  bool per_channel = true;  // a scale for each output channel; false: one for the layer
};

// Scales of a weight [out, ...], as in WeightScales: float32 [out].
at::Tensor ScalesOf(const at::Tensor& weight, const WeightGrids& grids);

// Puts the weights of convolutions and linear layers on grids, in a network in which all of them read values on grids,
// and their biases on those of integer arithmetic.
void QuantizeWeights(WeightedNetwork& network, const WeightGrids& grids);

}  // namespace prunelab
