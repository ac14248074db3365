// What synflow (synflow.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>
#include <vector>

#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// For each of `layers`, all of the network's, under the masks given by node (if there is none, the layer's own):
// float64 in the weight's shape.
std::map<std::string, at::Tensor> SynflowScores(const NetworkProbe& probe, const std::vector<PrunableLayer>& layers,
                                                const std::map<std::string, at::Tensor>& masks);

}  // namespace prunelab
