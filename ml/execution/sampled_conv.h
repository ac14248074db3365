// Strided 1x1 convolutions of few channels, whose weight gradient the library gets wrong.
//
// oneDNN's weight gradient of a 1x1 convolution with a stride and fewer than eight input channels, in channels_last
// memory on a CPU with AVX2 but no AVX-512 (seen in LibTorch 2.11), reads and writes past the end of its buffer: the
// heap is damaged, and the run crashes or goes on with wrong numbers. Such a convolution sees only every stride-th
// pixel, so the same gradient is that of a convolution without a stride on those pixels, and that one is sound.
#pragma once

#include "ATen/core/Tensor.h"
#include "ml/network/network.h"

namespace prunelab {

// Whether the weight gradient of `conv`, whose weight is [out, in / groups, kernel, kernel], has to be computed from
// sampled pixels. It depends on shapes and types alone, so that every CPU computes the same.
bool NeedsSampling(const Conv2d& conv, const at::Tensor& weight);

// Every stride-th pixel of x [n, c, h, w] in both directions, from the first on, in channels_last memory. Autograd goes
// through it.
at::Tensor Sampled(const Conv2d& conv, const at::Tensor& x);

}  // namespace prunelab
