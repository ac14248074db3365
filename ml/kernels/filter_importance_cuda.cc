#include <ATen/Dispatch.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ml/base/check.h"
#include "ml/kernels/filter_importance_launch.h"
#include "ml/kernels/filter_importance_on_device.h"

namespace prunelab {

bool HasCudaKernels() { return true; }

void FilterImportanceOnDevice(const at::Tensor& rows, FilterImportanceKind kind, const at::Tensor& importance) {
  const c10::cuda::CUDAGuard guard(rows.device());
  AT_DISPATCH_FLOATING_TYPES(rows.scalar_type(), "FilterImportance", [&] {
    const char* error =
        LaunchFilterImportance(rows.const_data_ptr<scalar_t>(), rows.size(0), rows.size(1), kind,
                               importance.mutable_data_ptr<scalar_t>(), c10::cuda::getCurrentCUDAStream().stream());
    PRUNELAB_CHECK(error == nullptr) << "the kernel was not launched: " << error;
  });
}

void ThresholdMaskOnDevice(const at::Tensor& importance, const at::Tensor& threshold, const at::Tensor& mask) {
  const c10::cuda::CUDAGuard guard(importance.device());
  AT_DISPATCH_FLOATING_TYPES(importance.scalar_type(), "ThresholdMask", [&] {
    const char* error = LaunchThresholdMask(importance.const_data_ptr<scalar_t>(), importance.numel(),
                                            threshold.const_data_ptr<scalar_t>(), mask.mutable_data_ptr<scalar_t>(),
                                            c10::cuda::getCurrentCUDAStream().stream());
    PRUNELAB_CHECK(error == nullptr) << "the kernel was not launched: " << error;
  });
}

}  // namespace prunelab
