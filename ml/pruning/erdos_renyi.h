// How sparse each layer is by the Erdos-Renyi-Kernel rule (Evci et al. 2020, ICML): its density is proportional to
// (out + in + kh + kw) / (out in kh kw), so that small layers stay dense; one that would exceed 1 is dense.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

// Densities of layers with weights of these shapes, whose mean over all weights is 1 - rate; or, with `of_filters`,
// over all filters.
std::vector<double> ErdosRenyiKernelDensities(const std::vector<std::vector<int64_t>>& shapes, double rate,
                                              bool of_filters = false);

}  // namespace prunelab
