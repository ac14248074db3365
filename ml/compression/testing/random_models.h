// Models with random values and random masks for tests of removal: what masks and BN can look like, at its worst.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

enum class MaskKind {
  kNone,         // nothing dead
  kUniform,      // each filter dead with one probability
  kWeights,      // single weights dead, so that some filters are by chance
  kDeadLayers,   // a third of the layers as a whole
  kDeadBlocks,   // residual blocks: all convolutions of some
  kLastOfBlock,  // only the last convolutions of some blocks
  kOneAlive,     // one filter a layer
};

constexpr MaskKind kMaskKinds[] = {MaskKind::kNone,       MaskKind::kUniform,    MaskKind::kWeights,
                                   MaskKind::kDeadLayers, MaskKind::kDeadBlocks, MaskKind::kLastOfBlock,
                                   MaskKind::kOneAlive};

// Weights as at the start; BN scales, shifts and running statistics of both signs and far from their start, some scales
// exactly zero where `zero_scales`; biases and stored constants random.
Model RandomModel(const NetworkInfo& info, at::ScalarType dtype, uint64_t seed, bool zero_scales = false);

void SetRandomMasks(Model& model, MaskKind kind, uint64_t seed);

// A small network of all operators, some of it in blocks: streams before and after activation, several readers of a
// node, groups, strides, dilations, pictures down to one pixel, sums of features and of terms that are repeated to the
// sum's size, stored constants, scatters, channels put together, nodes that lead nowhere.
Network RandomNetwork(uint64_t seed);

// Sets whole inputs and outputs of some convolutions and linear layers to zero, without a mask.
void SetRandomZeros(Model& model, uint64_t seed);

}  // namespace prunelab
