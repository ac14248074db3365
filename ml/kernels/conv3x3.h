// 3x3 convolutions with stride 1 and padding 1, float32, channels_last, by Winograd's minimal filtering F(2x2, 3x3)
// (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): 16 multiplications for a tile of
// two by two outputs instead of 36, forward and for both gradients. Rounding is as fine as that of the plain sums: the
// transforms only add, subtract and halve.
//
// AVX2 or AVX-512 as the processor has it; work is shared out in blocks that depend on shapes alone and sums are taken
// in a fixed order, so the same bits for any number of threads. A block's transformed values stay in the L2 cache.
#pragma once

#include <cstdint>

#include "ml/kernels/conv3x3_input.h"
#include "ml/kernels/conv3x3_output.h"

namespace prunelab {

// Above that the transformed weights, or the sums of their gradient, no longer fit a cache, and the library's
// convolutions are as fast.
constexpr int64_t kMaxConv3x3Weights = 256 * 256, kMaxConv3x3WeightGradients = 128 * 128;

// Whether there are kernels for convolutions of such images and their input gradients between so many channels:
// multiples of 8, at most kMaxConv3x3Weights pairs, images of at least two by two and at most 64 pixels' width, on a
// processor with AVX2.
bool HasConv3x3(int64_t in, int64_t out, int64_t height, int64_t width);
// And for weight gradients: at most kMaxConv3x3WeightGradients pairs.
bool HasConv3x3WeightGradient(int64_t in, int64_t out, int64_t height, int64_t width);

// The convolution of x [images, height, width, in] with weight [out, 3, 3, in], as y [images, height, width, out].
void Conv3x3(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const Conv3x3Input& x,
             const float* weight, float* y);

// The convolution with what `output` makes of it, for inference, as `result` [images, height, width, output.channels].
void Conv3x3Fused(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                  const float* weight, const Conv3x3Output& output, float* result);

// Its input gradient of dy [images, height, width, out], added to `addend` if that is not null, as dx [images, height,
// width, in].
void Conv3x3InputGradient(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* dy,
                          const float* weight, const float* addend, float* dx);

// Its weight gradient [out, 3, 3, in]: sixteen parts of the batch (or fewer) by themselves, then their sum in float64.
void Conv3x3WeightGradient(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out,
                           const Conv3x3Input& x, const float* dy, float* dweight);

// The plain loops that Conv3x3 must equal up to rounding.
void Conv3x3Reference(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                      const float* weight, float* y);

}  // namespace prunelab
