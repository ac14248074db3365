// Strided 1x1 convolutions of few channels, for which the library computes a wrong weight gradient.
//
// oneDNN's weight gradient of a 1x1 convolution with a stride and fewer than eight input channels, in channels_last
// memory on a CPU with AVX2 but without AVX-512 (seen in LibTorch 2.11), reads and writes past the end of its buffer.
// This damages the heap, and the run crashes or continues with wrong numbers. Such a convolution sees only every
// stride-th pixel, so its gradient is also that of a convolution without a stride on those pixels, and that one is
// correct.
#pragma once

#include "ATen/core/Tensor.h"
#include "ml/network/window.h"

namespace prunelab {

// Whether the weight gradient of a convolution by `window`, whose weight is [out, in / groups, kernel, kernel], has to
// be computed from sampled pixels. It depends on shapes and types alone, so that every CPU computes the same.
bool NeedsSampling(const Window& window, const at::Tensor& weight);

// Every stride-th pixel of x [n, c, h, w] in both directions, starting with the first, in channels_last memory.
// Autograd differentiates through it.
at::Tensor Sampled(const Window& window, const at::Tensor& x);

}  // namespace prunelab
