#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <string>

#include "ml/network/network.h"

namespace prunelab {

// For benchmarks: float masks [filters, 1, 1, 1] by convolution, in which the same share of each convolution's filters,
// rounded down, is masked; drawn from a fixed seed.
std::map<std::string, at::Tensor> UniformFilterMasks(const NetworkInfo& network, double rate);

}  // namespace prunelab
