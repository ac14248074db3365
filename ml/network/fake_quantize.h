// The operator FakeQuantize and weight_bits (network.proto) on tensors.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ml/network/network.pb.h"

namespace prunelab {

// The places on the grid, q = round(x / scale) + zero_point within 0 to 2^bits - 1, of x's shape and type. Halves are
// rounded to even places, as ONNX's QuantizeLinear does. `scale` and `zero_point` are of one element and of x's type.
at::Tensor GridPlaces(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                      const at::Tensor& zero_point);

// scale (q - zero_point) for those places. No gradient: they do not move when x does, but for jumps.
at::Tensor ApplyFakeQuantize(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                             const at::Tensor& zero_point);

// The largest place: 255 for 8 bits.
int64_t LastPlace(const FakeQuantize& node);

// The largest whole multiple of its scale that a weight of so many bits may be: 127 for 8 bits.
int64_t LargestLevel(int64_t weight_bits);

// The whole multiples of scale[row] that are nearest to the weights, at most LargestLevel(bits) of it: int8, of the
// weight's shape. Halves are rounded to even numbers.
at::Tensor WeightLevels(const at::Tensor& weight, const at::Tensor& scale, int64_t bits);

// levels * scale[row], in float32.
at::Tensor WeightsOfLevels(const at::Tensor& levels, const at::Tensor& scale);

}  // namespace prunelab
