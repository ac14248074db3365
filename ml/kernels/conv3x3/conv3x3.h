// 3x3 convolutions with stride 1 and padding 1, float32, channels_last, by Winograd's minimal filtering F(2x2, 3x3)
// (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016): 16 multiplications for a tile of
// two by two outputs instead of 36, forward and for both gradients. Rounding is as fine as that of the plain sums: the
// transforms only add, subtract and halve.
//
// It uses AVX2 or AVX-512, depending on the processor (rows.h). Work is divided into blocks that depend on shapes
// alone, and sums are computed in a fixed order, so any number of threads gives the same bits. A block's transformed
// values stay in the L2 cache.
#pragma once

#include <cstdint>

namespace prunelab {

// What a convolution reads: images [images, height, width, in], which are `data` or, if scale and shift [in] are not
// null, max(0, data * scale + shift), that is, BN and ReLU are applied as the data is read. NaN passes, as in
// LibTorch's relu.
struct Conv3x3Input {
  const float* data = nullptr;
  const float* scale = nullptr;
  const float* shift = nullptr;
};

// What Conv3x3Fused does with a convolution's output while it is in a cache: the rest of an inference block.
//
// out = relu(place(y) + shift + addend + picture), all of it channels_last with `channels` channels. place puts channel
// k of the convolution's output y at channel position[k], with zeros elsewhere. There is no ReLU if `relu` is false;
// null means that there is nothing to add.
struct Conv3x3Output {
  int64_t channels = 0;               // a multiple of 8
  const int32_t* position = nullptr;  // in ascending order; null: there are all channels, each in its place
  const float* shift = nullptr;       // [channels], never null: the bias, and constants in each pixel
  const float* addend = nullptr;      // [images, height, width, channels]; may be the result itself
  const float* picture = nullptr;     // [height, width, channels], for all images
  bool relu = false;
};

// Above these the transformed weights, or the sums of their gradient, no longer fit a cache, and the library's
// convolutions are as fast.
constexpr int64_t kMaxConv3x3Weights = 256 * 256, kMaxConv3x3WeightGradients = 128 * 128;

// Whether there are kernels for convolutions of such images and their input gradients between so many channels:
// multiples of 8, at most kMaxConv3x3Weights pairs, images of at least two by two and at most 64 pixels' width, on a
// processor with AVX2.
bool HasConv3x3(int64_t in, int64_t out, int64_t height, int64_t width);
// The same for weight gradients: at most kMaxConv3x3WeightGradients pairs.
bool HasConv3x3WeightGradient(int64_t in, int64_t out, int64_t height, int64_t width);

// The convolution of x [images, height, width, in] with weight [out, 3, 3, in], as y [images, height, width, out].
void Conv3x3(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const Conv3x3Input& x,
             const float* weight, float* y);

// The convolution followed by what `output` says, for inference, as `result` [images, height, width, output.channels].
void Conv3x3Fused(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                  const float* weight, const Conv3x3Output& output, float* result);

// The same with weights that were transformed before: `transformed` has Conv3x3TransformedSize floats, which
// TransformConv3x3Weight wrote, and begins at a multiple of 64 bytes.
void Conv3x3FusedTransformed(int64_t images, int64_t height, int64_t width, int64_t in, int64_t out, const float* x,
                             const float* transformed, const Conv3x3Output& output, float* result);
int64_t Conv3x3TransformedSize(int64_t in, int64_t out);
void TransformConv3x3Weight(int64_t in, int64_t out, const float* weight, float* transformed);

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
