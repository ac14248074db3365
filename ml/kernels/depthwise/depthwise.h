// Depthwise convolutions, each of whose filters reads one channel: float32, channels_last, forward and both gradients.
//
// It is vectorized over channels for AVX2 and AVX-512 (rows.h), chosen when the program runs; a row of the output is
// computed by a few pixels at a time, whose sums stay in registers. Work is divided by shapes alone, and sums are
// computed in a fixed order, so any number of threads gives the same bits.
#pragma once

#include <cstdint>
#include <limits>

namespace prunelab {

// Along the height or along the width: output o reads the pixels from o * stride - padding on, `kernel` of them; those
// outside of the image are zero.
struct DepthwiseAxis {
  int64_t size = 0;     // of the image
  int64_t outputs = 0;  // how many windows there are
  int64_t kernel = 0, stride = 1, padding = 0;
};

struct DepthwiseShape {
  int64_t images = 0, channels = 0;
  DepthwiseAxis down, across;
};

// What is done with an output as it is written: max(low, min(high, output + bias)). NaN passes.
struct DepthwiseOutput {
  const float* bias = nullptr;  // [channels]; null: none
  float low = -std::numeric_limits<float>::infinity(), high = std::numeric_limits<float>::infinity();
};

// Whether there are kernels for such a convolution: one of 1 to 7 x 3, 5 or 7 pixels with strides 1 or 2, whose padding
// is less than the kernel, of at least 8 channels, on a processor with AVX2.
bool HasDepthwise(const DepthwiseShape& shape);

// x [images, height, width, channels] by weight [channels, kernel height, kernel width], as y [images, outputs down,
// outputs across, channels].
void DepthwiseForward(const DepthwiseShape& shape, const float* x, const float* weight, const DepthwiseOutput& output,
                      float* y);

// Its input gradient of dy (shaped like y), as dx (shaped like x).
void DepthwiseInputGradient(const DepthwiseShape& shape, const float* dy, const float* weight, float* dx);

// Its weight gradient, as dweight (shaped like weight): short sums in float32, long ones in float64.
void DepthwiseWeightGradient(const DepthwiseShape& shape, const float* x, const float* dy, float* dweight);

}  // namespace prunelab
