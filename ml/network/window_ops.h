// Convolution and pooling by any window, by LibTorch's calls: what a plan executes, and what becomes of constant
// channels. LibTorch pads both sides of an axis alike; where a window does not, the pixels are put there first.
// Autograd differentiates through all of them.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ml/network/network.pb.h"
#include "ml/network/window.h"

namespace prunelab {

// x [N, C, H, W] with the window's padding around it, of zeros.
at::Tensor Padded(const Window& window, const at::Tensor& x);
// The same window, for what is padded already.
Window WithoutPads(Window window);

// `bias` may be undefined.
at::Tensor RunConv2d(const Window& window, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                     int64_t groups);

// `weight`: [in, out / groups, kernel height, kernel width]. `bias` may be undefined.
at::Tensor RunConvTranspose2d(const TransposedWindow& window, const at::Tensor& x, const at::Tensor& weight,
                              const at::Tensor& bias, int64_t groups);

at::Tensor RunMaxPool2d(const MaxPool2d& pool, const at::Tensor& x);
at::Tensor RunAveragePool2d(const AveragePool2d& pool, const at::Tensor& x);

}  // namespace prunelab
