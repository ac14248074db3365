// What hrank (hrank.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

namespace prunelab {

// The rank of each channel's map in maps [n, C, H, W], the sum over the n images: float64 [C], on the CPU.
at::Tensor MapRanks(const at::Tensor& maps);

}  // namespace prunelab
