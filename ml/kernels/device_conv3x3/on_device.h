// The CUDA half of weight_gradient.h: on_device_cuda.cc under --config=cuda, otherwise on_device_no_cuda.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/kernels/device_conv3x3/threads.h"

namespace prunelab {

// All tensors float32 on one CUDA device: x, dy and dweight in channels_last memory, and `partial` of
// grid.partial_size(). The kernels run on the current stream.
void WeightGradientOnDevice(const WeightGradientGrid& grid, const at::Tensor& x, const at::Tensor& dy,
                            const at::Tensor& partial, const at::Tensor& dweight);

}  // namespace prunelab
