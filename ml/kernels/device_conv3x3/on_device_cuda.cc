#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>

#include "ml/kernels/device_conv3x3/kernels.h"
#include "ml/kernels/device_conv3x3/on_device.h"

namespace prunelab {

// Throws as LibTorch's own operators do: a step that cannot be captured is then launched as it is, and a run whose GPU
// fails ends with an error of its own.
void WeightGradientOnDevice(const WeightGradientGrid& grid, const at::Tensor& x, const at::Tensor& dy,
                            const at::Tensor& partial, const at::Tensor& dweight) {
  const c10::cuda::CUDAGuard guard(x.device());
  const char* const error = LaunchWeightGradient(grid, x.const_data_ptr<float>(), dy.const_data_ptr<float>(),
                                                 partial.mutable_data_ptr<float>(), dweight.mutable_data_ptr<float>(),
                                                 c10::cuda::getCurrentCUDAStream().stream());
  TORCH_CHECK(error == nullptr, "the kernel of a 3x3 convolution's weight gradient was not launched: ", error);
}

}  // namespace prunelab
