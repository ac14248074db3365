// What rigl (rigl.proto) is made of, for its test.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

// Erdos-Renyi-Kernel densities of layers with weights of these shapes, whose mean over all weights is 1 - rate; or,
// with `of_filters`, over all filters.
std::vector<double> ErdosRenyiKernelDensities(const std::vector<std::vector<int64_t>>& shapes, double rate,
                                              bool of_filters = false);

}  // namespace prunelab
