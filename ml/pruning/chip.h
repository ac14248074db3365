// What chip (chip.proto) is made of, for its test.
#pragma once

#include <ATen/core/Tensor.h>

namespace prunelab {

// The independence of each channel of maps [n, C, H, W], the sum over the n images: float64 [C], on the CPU.
at::Tensor ChannelIndependence(const at::Tensor& maps);

}  // namespace prunelab
