// What fpgm (fpgm.proto) ranks filters by.
#pragma once

#include <ATen/core/Tensor.h>

namespace prunelab {

// For filters [out, in, kh, kw] the sums of distances to all filters of the layer, in float64: [out, 1, 1, 1].
at::Tensor DistanceSums(const at::Tensor& filters);

}  // namespace prunelab
