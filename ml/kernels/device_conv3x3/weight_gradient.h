// The weight's gradient of a 3x3 convolution with stride and padding 1: on a CUDA device by a kernel of this project's
// own, where the library's are slow.
//
//   const at::Tensor dweight = Conv3x3WeightGradient(x, dy);
//
// cuDNN splits the sum over 100,000 pixels badly when there are few channels: of ResNet-56's three widths at batch 128
// its gradients in TF32 take 57, 139 and 25 microseconds on an H200 (without its search for the fastest of its kernels,
// which would not choose the same ones each time).
#pragma once

#include <ATen/core/Tensor.h>

namespace prunelab {

// Whether the project's own kernel computes the gradient: tensors on a CUDA device, float32, channels_last, and
// channels that are multiples of 4, up to 64. It sums in float32, also where products may be rounded to TF32.
bool HasOwnConv3x3WeightGradient(const at::Tensor& x, const at::Tensor& dy);

// [out, in, 3, 3] in channels_last memory, from the input x [images, in, height, width] and the output's gradient dy
// [images, out, height, width], of one dtype, on one device. Deterministic. Without a graph for autograd.
at::Tensor Conv3x3WeightGradient(const at::Tensor& x, const at::Tensor& dy);

}  // namespace prunelab
