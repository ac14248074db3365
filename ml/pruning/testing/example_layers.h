// A small network and its layers with random weights, for the strategies' tests.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/network/network.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Convolutions stem [8, 3, 3, 3], block.conv1 [12, 8, 3, 3], block.conv2 [8, 12, 3, 3] and block.downsample [8, 8, 1,
// 1]: 36 filters, 2,008 weights.
NetworkInfo ExampleNetwork();

// Its layers: normal weights and gradients from `seed`, masks of ones, float32.
std::vector<PrunableLayer> ExampleLayers(Granularity granularity, uint64_t seed);

// Entries that are off.
int64_t MaskedCount(const std::map<std::string, at::Tensor>& masks);

}  // namespace prunelab
