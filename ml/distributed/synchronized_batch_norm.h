// Batch normalization over the images of several processes (torch.nn.SyncBatchNorm).
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/distributed/ranks.h"

namespace prunelab {

// `x` [N, C, H, W], this rank's images, normalized by the mean and variance of all ranks' values of each channel, times
// `weight` [C] plus `bias` [C]. Updates `running_mean` and `running_var` [C], the latter by the unbiased variance, as
// at:: batch_norm does in training, and alike on all ranks. Autograd differentiates it: what backward gives for x
// belongs to the sum of all ranks' losses, and for weight and bias to this rank's part of it. All ranks call it, and
// backward, together.
at::Tensor SynchronizedBatchNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                 const at::Tensor& running_mean, const at::Tensor& running_var, double momentum,
                                 double epsilon, Ranks& ranks);

}  // namespace prunelab
