// Rounding in the forward pass that the backward pass takes for the identity (the straight-through estimator; Bengio et
// al. 2013, "Estimating or propagating gradients through stochastic neurons"). Where autograd does not record, the
// values alone are computed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ml/network/network.pb.h"

namespace prunelab {

// x on the grid of `node`, as ApplyFakeQuantize (ml/network/fake_quantize.h). What lies beyond the ends of the grid
// gets no gradient, as in PyTorch's fake_quantize_per_tensor_affine. `scale` and `zero_point` get none.
at::Tensor RoundedToGrid(const FakeQuantize& node, const at::Tensor& x, const at::Tensor& scale,
                         const at::Tensor& zero_point);

// A weight [out, ...] as whole multiples of scale[out], at most LargestLevel(bits) of it. What would be more gets no
// gradient.
at::Tensor RoundedToLevels(const at::Tensor& weight, const at::Tensor& scale, int64_t bits);

}  // namespace prunelab
