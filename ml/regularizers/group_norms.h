// The norms that group LASSO sums up, of filters and of input channels.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <set>
#include <string>

#include "ml/network/network.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// The sums of norms over the layer's filters, and over its input channels, of a convolution of `conv_groups` groups (an
// input channel is read by the filters of its group alone). Differentiable in the weight.
at::Tensor FilterNormSum(const RegularizedLayer& layer);
at::Tensor ChannelNormSum(const RegularizedLayer& layer, int64_t conv_groups);

// The convolutions' numbers of groups, by node.
std::map<std::string, int64_t> ConvGroups(const std::set<std::string>& convs, const NetworkInfo& network);

}  // namespace prunelab
