// The layers whose masks tools/reference/strategies_values.py computes, and masks in the form in which it writes them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/network/masks.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// Those of ExampleNetwork(), float32, with the generator's weights and its gradients of step `step`; masks of ones.
std::vector<PrunableLayer> ReferenceLayers(Granularity granularity, int64_t step = 0);

// Gives `layers` the masks.
void SetMasks(const std::map<std::string, at::Tensor>& masks, std::vector<PrunableLayer>& layers);

// Filter masks of all layers in the network's order: 0 or 1 for each filter.
std::string FilterBits(const std::map<std::string, at::Tensor>& masks);

// SHA-256 of the weight masks' bytes 0 and 1, all layers in the network's order.
std::string WeightMaskDigest(const std::map<std::string, at::Tensor>& masks);

}  // namespace prunelab
