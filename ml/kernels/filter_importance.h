// Importances of a convolution's filters, and masks by a threshold: what a mask update computes, on the CPU or on a
// CUDA device without waiting for it.
//
//   const at::Tensor importance = FilterImportance(weight, FilterImportanceKind::kL1);       // [out]
//   const at::Tensor threshold = std::get<0>(at::kthvalue(importance, k));                   // [], on the device
//   const at::Tensor mask = ThresholdMask(importance, threshold).view({-1, 1, 1, 1});
//
// The CPU and CUDA give the same bits for a weight in the same order of memory.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/kernels/filter_importance_arithmetic.h"

namespace prunelab {

// Mean |w| or mean w^2 of each filter of `weight` [out, ...] (float32 or float64), as [out]. Sums are in float64.
// Weights whose filters lie one after the other in memory (contiguous or channels_last) are not copied. Without
// gradient.
at::Tensor FilterImportance(const at::Tensor& weight, FilterImportanceKind kind);

// 1 where importance > threshold, strictly, else 0 (not-a-number too), in the importance's shape and dtype. `threshold`
// has one element, the same dtype and device.
at::Tensor ThresholdMask(const at::Tensor& importance, const at::Tensor& threshold);

// Whether this program was built with the CUDA kernels (--config=cuda). Without them tensors on a device are refused by
// a check; there can be none.
bool HasCudaKernels();

}  // namespace prunelab
