// Convolutions of 8-bit whole numbers with sums in 32 bits, on CPUs, channels last: the fast path of what
// ml/quantization/integer_operators.h defines, and equal to it bit for bit.
//
//   const IntegerConvPlan plan(weights, {/*height=*/32, /*width=*/32});
//   plan.Run(images, x, y);      // places to places
//
// With AVX512-VNNI one instruction multiplies 64 pairs of numbers and adds them to 16 sums; without it 32 pairs
// (AVX-512) or 16 (AVX2) of 16-bit numbers. Other processors run plain loops.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

// Along the height or the width. Pixels.
struct IntegerConvAxis {
  int64_t kernel = 1, stride = 1, dilation = 1, before = 0, after = 0;
  int64_t Outputs(int64_t size) const { return (size + before + after - dilation * (kernel - 1) - 1) / stride + 1; }
};

// A layer. y = clamp(zero_point + (sum multiplier + 2^(shift - 1)) >> shift, first, last) with
// sum = bias + the sum of (x - input_zero_point) level.
struct IntegerConvWeights {
  int64_t in_channels = 0, out_channels = 0, groups = 1;
  IntegerConvAxis down, across;
  std::vector<int8_t> levels;              // [out][in / groups][kernel height][kernel width], at least -127
  std::vector<int64_t> bias;               // [out]; with any products it stays within 32 bits
  int32_t input_zero_point = 0;            // 0 to 255; padding has this value
  std::vector<int64_t> multiplier, shift;  // [out], below 2^31, 1 to 62; empty: only Accumulate is called
  int32_t zero_point = 0, first = 0, last = 255;
};

// Bytes from one pixel to the next in an array of places with so many channels: a multiple of 16, so that vectors may
// reach beyond the channels. What is there is not defined.
constexpr int64_t PlacesStride(int64_t channels) { return (channels + 15) / 16 * 16; }

class IntegerConvPlan {
 public:
  struct Size {
    int64_t height = 1, width = 1;  // of the input
  };

  IntegerConvPlan(const IntegerConvWeights& weights, Size size);

  Size output() const { return output_; }

  // x: [images][height][width][PlacesStride(in_channels)], of which 64 bytes more may be read, y likewise with
  // out_channels. The images are shared among
  // the threads; a single one is shared by its rows.
  void Run(int64_t images, const uint8_t* x, uint8_t* y) const;

  // The sums themselves: [images][height][width][PlacesStride(out_channels)].
  void Accumulate(int64_t images, const uint8_t* x, int32_t* sums) const;

 private:
  void RunRows(int64_t image, int64_t first, int64_t count, const uint8_t* x, uint8_t* y, int32_t* sums) const;
  // Of a convolution of single pixels: some of the pixels of all images.
  void RunPixels(int64_t first, int64_t count, const uint8_t* x, uint8_t* y, int32_t* sums) const;
  void RunAll(int64_t images, const uint8_t* x, uint8_t* y, int32_t* sums) const;

  IntegerConvWeights weights_;
  Size size_, output_;
  bool depthwise_ = false, pointwise_ = false;
  int64_t inputs_ = 4, outputs_ = 16;  // of a vector, as the instruction set has it
  int64_t blocks_ = 1, steps_ = 1;     // vectors of outputs and of inputs, of a group
  std::vector<uint8_t> packed_;        // weights, as the inner loops read them
  std::vector<int32_t> bias_;          // with the input's zero point taken in
  std::vector<int64_t> multiplier_, shift_, half_;
};

}  // namespace prunelab
