// Models with random values and random masks for tests of removal, with the worst that masks and BN can look like.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

enum class MaskKind {
  kNone,         // nothing dead
  kUniform,      // each filter dead with one probability
  kWeights,      // single weights dead, and by chance some filters
  kDeadLayers,   // a third of the layers entirely dead
  kDeadBlocks,   // all convolutions of some residual blocks
  kLastOfBlock,  // only the last convolutions of some blocks
  kOneAlive,     // one live filter per layer
};

constexpr MaskKind kMaskKinds[] = {MaskKind::kNone,       MaskKind::kUniform,    MaskKind::kWeights,
                                   MaskKind::kDeadLayers, MaskKind::kDeadBlocks, MaskKind::kLastOfBlock,
                                   MaskKind::kOneAlive};

// Initial weights. BN scales, shifts and running statistics have both signs and are far from their initial values, with
// some scales exactly zero if `zero_scales`. Biases and stored constants are random.
Model RandomModel(const NetworkInfo& info, at::ScalarType dtype, uint64_t seed, bool zero_scales = false);

void SetRandomMasks(Model& model, MaskKind kind, uint64_t seed);

// A small network of all operators, some of it in blocks: streams before and after activation, several readers of a
// node, groups, strides, dilations, pictures down to one pixel, sums of features and of terms that are repeated to the
// sum's size, stored constants, scatters, channels put together, nodes that lead nowhere.
Network RandomNetwork(uint64_t seed);

// Sets whole inputs and outputs of some convolutions and linear layers to zero, without a mask.
void SetRandomZeros(Model& model, uint64_t seed);

}  // namespace prunelab
