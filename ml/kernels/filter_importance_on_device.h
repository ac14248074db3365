// The CUDA half of filter_importance.h: filter_importance_cuda.cc under --config=cuda, else
// filter_importance_no_cuda.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/kernels/filter_importance_arithmetic.h"

namespace prunelab {

bool HasCudaKernels();

// `rows`: [filters, size] on a CUDA device, contiguous; `importance`: [filters] to be written. On the current stream.
void FilterImportanceOnDevice(const at::Tensor& rows, FilterImportanceKind kind, const at::Tensor& importance);

// All contiguous, on one CUDA device; `mask` is written. On the current stream.
void ThresholdMaskOnDevice(const at::Tensor& importance, const at::Tensor& threshold, const at::Tensor& mask);

}  // namespace prunelab
