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
  // What only some networks have; the other layers are masked as in kUniform.
  kDeadGates,     // half of the gates: all filters before a product with their activation, and sometimes those before
  kDeadBranches,  // half of the inputs of each Concat: all filters of the convolution that ends there
  kDeadGroups,    // whole groups of grouped convolutions, and in others all filters but one
};

constexpr MaskKind kMaskKinds[] = {MaskKind::kNone,       MaskKind::kUniform,    MaskKind::kWeights,
                                   MaskKind::kDeadLayers, MaskKind::kDeadBlocks, MaskKind::kLastOfBlock,
                                   MaskKind::kOneAlive};
// Also those of gates, branches and groups.
constexpr MaskKind kAllMaskKinds[] = {
    MaskKind::kNone,        MaskKind::kUniform,  MaskKind::kWeights,   MaskKind::kDeadLayers,   MaskKind::kDeadBlocks,
    MaskKind::kLastOfBlock, MaskKind::kOneAlive, MaskKind::kDeadGates, MaskKind::kDeadBranches, MaskKind::kDeadGroups};

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
