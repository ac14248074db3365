// Batch normalization with the addition and the ReLU after it, on tensors: on the CPU (batch_norm.h) or on a CUDA
// device (device_kernels.cu), without synchronizing. It can be differentiated once; ml/execution/fused_plan.cc makes an
// autograd function of it.
//
//   const FusedBatchNormResult forward = FusedBatchNormTraining(norm, y, /*addend=*/{}, /*relu=*/true);
//   const FusedBatchNormGradients backward = FusedBatchNormBackward(forward, y, /*with_addend=*/false, true, gradient);
//
// Sums are taken in an order that follows from the shape alone, so the same call gives the same bits again; CPU and
// device differ by rounding.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/kernels/batch_norm/batch_norm.h"

namespace prunelab {

// A batch normalization's own tensors, [C] in the dtype of its input (float or double), and its constants.
struct BatchNormTensors {
  at::Tensor gamma, beta, running_mean, running_var;
  at::Tensor num_batches_tracked;  // [] int64
  double epsilon = 1e-5;
  double momentum = 0.1;  // the batch's weight in the running statistics
};

struct FusedBatchNormResult {
  at::Tensor out;                 // [N, C, H, W], channels_last
  at::Tensor scale, shift, mean;  // [C], of the batch: BN's output is y * scale + shift
  at::Tensor inverse;             // [C] float64, 1 / sqrt(variance + epsilon)
};

// By the batch's statistics; the running statistics are updated. y, `addend` (undefined: none): [N, C, H, W], of one
// dtype, on one device; channels_last tensors are not copied. Without a graph for autograd. Only the CPU knows a ReLU
// with a ceiling.
FusedBatchNormResult FusedBatchNormTraining(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                            Rectifier relu);

// By the running statistics; nothing changes. As above.
at::Tensor FusedBatchNormEvaluation(const BatchNormTensors& norm, const at::Tensor& y, const at::Tensor& addend,
                                    Rectifier relu);

struct FusedBatchNormGradients {
  at::Tensor y, addend;    // [N, C, H, W]; addend is undefined if there was none
  at::Tensor gamma, beta;  // [C]
};

// Of FusedBatchNormTraining. `forward.out` is read, and so may be undefined, only with both relu and an addend.
FusedBatchNormGradients FusedBatchNormBackward(const FusedBatchNormResult& forward, const at::Tensor& y,
                                               bool with_addend, Rectifier relu, const at::Tensor& gradient);

}  // namespace prunelab
