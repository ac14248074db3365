// The CUDA half of fused_batch_norm.h: on_device_cuda.cc under --config=cuda, otherwise on_device_no_cuda.cc.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/kernels/batch_norm/fused_batch_norm.h"

namespace prunelab {

// All tensors are on one CUDA device, contiguous or channels_last as fused_batch_norm.cc makes them; those of the
// results are allocated, to be written. The kernels run on the current stream.
void FusedBatchNormTrainingOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                    bool relu, const FusedBatchNormResult& result);
void FusedBatchNormEvaluationOnDevice(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                      bool relu, const at::Tensor& out);
// `gradients.addend` is to be written where `relu` and defined.
void FusedBatchNormBackwardOnDevice(const FusedBatchNormResult& forward, const at::Tensor& y, bool relu,
                                    const at::Tensor& gradient, const FusedBatchNormGradients& gradients);

}  // namespace prunelab
