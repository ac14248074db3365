#include "ml/kernels/depthwise/rows.h"

#include "ml/kernels/vectors.h"

// PRUNELAB_INSTRUCTION_SET is avx2 or avx512, according to the flags of this compilation.
namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

// Outputs whose sums are in registers at a time.
#ifdef __AVX512F__
constexpr int kMostPixels = 8;
#else
constexpr int kMostPixels = 4;
#endif

// Calls body(V{}, c, kept) for blocks of channels, at least 8 in all: vectors of the widest kind, then of eight. If
// eight do not divide the channels, the last block overlaps the one before it. Where each channel's sum must exist
// once, the block's sums are at `kept`; the last block has those of 8 channels, of which only the ones that no other
// has are used.
template <typename Body>
inline __attribute__((always_inline)) void ForSums(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + Lanes<Widest>() <= channels; c += Lanes<Widest>()) body(Widest{}, c, c);
  for (; c + 8 <= channels; c += 8) body(Float8{}, c, c);
  if (c < channels) body(Float8{}, channels - 8, c);
}

// Calls body(V{}, c) for these blocks: channels of the overlap are computed twice, alike.
template <typename Body>
inline __attribute__((always_inline)) void ForChannels(int64_t channels, const Body& body) {
  ForSums(channels, [&](auto zero, int64_t c, int64_t) { body(zero, c); });
}

struct Range {
  int64_t begin, end;
};
inline int64_t AtLeast(int64_t a, int64_t b) { return a < b ? b : a; }
inline int64_t AtMost(int64_t a, int64_t b) { return a < b ? a : b; }

// The taps of output o that are inside of the image.
inline Range TapsInside(const DepthwiseAxis& axis, int64_t o) {
  const int64_t first = o * axis.stride - axis.padding;
  return {AtLeast(-first, 0), AtMost(axis.size - first, axis.kernel)};
}

// The outputs all of whose taps are inside of the image.
inline Range Interior(const DepthwiseAxis& axis) {
  const int64_t begin = AtMost((axis.padding + axis.stride - 1) / axis.stride, axis.outputs);
  const int64_t room = axis.size + axis.padding - axis.kernel;
  const int64_t end = room < 0 ? begin : AtMost(room / axis.stride + 1, axis.outputs);
  return {begin, AtLeast(begin, end)};
}

// One row of outputs, and what it reads.
struct Row {
  const float* x;     // where the row's first tap that is inside would read the first pixel of its row
  const float* taps;  // those of that tap's row
  int64_t rows;       // how many of the kernel's rows are inside
};

inline Row RowOf(const DepthwiseShape& shape, const float* x, const float* taps, int64_t row) {
  const DepthwiseAxis& down = shape.down;
  const int64_t image = row / down.outputs, o = row % down.outputs;
  const Range inside = TapsInside(down, o);
  const int64_t of_image = o * down.stride - down.padding + inside.begin;
  return {x + (image * down.size + of_image) * shape.across.size * shape.channels,
          taps + inside.begin * shape.across.kernel * shape.channels, AtLeast(inside.end - inside.begin, 0)};
}

// Calls body(pixels, o) for the outputs o of a row in `range`, several at a time: pixels::value of them from o on.
template <int kCount>
struct Pixels {
  static constexpr int value = kCount;
};
template <typename Body>
inline __attribute__((always_inline)) void ForPixels(Range range, const Body& body) {
  int64_t o = range.begin;
  for (; o + kMostPixels <= range.end; o += kMostPixels) body(Pixels<kMostPixels>{}, o);
  if (kMostPixels > 4 && o + 4 <= range.end) {
    body(Pixels<4>{}, o);
    o += 4;
  }
  if (o + 2 <= range.end) {
    body(Pixels<2>{}, o);
    o += 2;
  }
  if (o < range.end) body(Pixels<1>{}, o);
}

// Adds to the sums of kPixels outputs the products of one row of kKernel taps. x: what the first tap of the first
// output reads.
template <int kKernel, int kStride, int kPixels, typename V>
inline __attribute__((always_inline)) void AddRow(const float* x, const float* taps, int64_t channels,
                                                  V (&sums)[kPixels]) {
  V tap[kKernel];
#pragma GCC unroll 7
  for (int k = 0; k < kKernel; ++k) tap[k] = Load<V>(taps + k * channels);
#pragma GCC unroll 32
  for (int t = 0; t < (kPixels - 1) * kStride + kKernel; ++t, x += channels) {
    const V value = Load<V>(x);
#pragma GCC unroll 8
    for (int j = 0; j < kPixels; ++j) {
      const int k = t - j * kStride;
      if (k >= 0 && k < kKernel) sums[j] += value * tap[k];
    }
  }
}

template <typename V>
inline __attribute__((always_inline)) V Clipped(V value, V low, V high) {
  value = value < low ? low : value;  // NaN passes
  return value > high ? high : value;
}

template <int kKernel, int kStride>
void Forward(const DepthwiseShape& shape, const float* x, const float* taps, const DepthwiseOutput& output,
             int64_t first, int64_t count, float* y) {
  const int64_t channels = shape.channels, pitch = shape.across.size * channels;
  const Range interior = Interior(shape.across);
  for (int64_t r = first; r < first + count; ++r) {
    const Row row = RowOf(shape, x, taps, r);
    float* const to = y + r * shape.across.outputs * channels;
    ForPixels(interior, [&](auto pixels, int64_t o) {
      constexpr int kPixels = decltype(pixels)::value;
      const float* const from = row.x + (o * kStride - shape.across.padding) * channels;
      ForChannels(channels, [&](auto zero, int64_t c) {
        using V = decltype(zero);
        const V bias = output.bias != nullptr ? Load<V>(output.bias + c) : V{};
        V sums[kPixels];
#pragma GCC unroll 8
        for (int j = 0; j < kPixels; ++j) sums[j] = bias;
        for (int64_t k = 0; k < row.rows; ++k) {
          AddRow<kKernel, kStride, kPixels, V>(from + k * pitch + c, row.taps + k * kKernel * channels + c, channels,
                                               sums);
        }
        const V low = V{} + output.low, high = V{} + output.high;
#pragma GCC unroll 8
        for (int j = 0; j < kPixels; ++j) Store<V>(to + (o + j) * channels + c, Clipped<V>(sums[j], low, high));
      });
    });
    const auto at_border = [&](int64_t o) {
      const Range inside = TapsInside(shape.across, o);
      const float* const from = row.x + (o * kStride - shape.across.padding) * channels;
      ForChannels(channels, [&](auto zero, int64_t c) {
        using V = decltype(zero);
        V sum = output.bias != nullptr ? Load<V>(output.bias + c) : V{};
        for (int64_t k = 0; k < row.rows; ++k) {
          for (int64_t j = inside.begin; j < inside.end; ++j) {
            sum += Load<V>(from + k * pitch + j * channels + c) * Load<V>(row.taps + (k * kKernel + j) * channels + c);
          }
        }
        Store<V>(to + o * channels + c, Clipped<V>(sum, V{} + output.low, V{} + output.high));
      });
    };
    for (int64_t o = 0; o < interior.begin; ++o) at_border(o);
    for (int64_t o = interior.end; o < shape.across.outputs; ++o) at_border(o);
  }
}

// The taps whose outputs read pixel i, and the first of these outputs; `step` taps lie between two, whose outputs are
// neighbours, the later tap's the earlier one.
struct Readers {
  int64_t tap, output, count;
};
inline Readers ReadersOf(const DepthwiseAxis& axis, int64_t i) {
  int64_t tap = (i + axis.padding) % axis.stride, output = (i + axis.padding) / axis.stride;
  // Outputs beyond the last one do not exist.
  if (output >= axis.outputs) {
    tap += (output - axis.outputs + 1) * axis.stride;
    output = axis.outputs - 1;
  }
  const int64_t taps = tap < axis.kernel ? (axis.kernel - 1 - tap) / axis.stride + 1 : 0;
  return {tap, output, AtMost(taps, output + 1)};
}

void InputGradient(const DepthwiseShape& shape, const float* dy, const float* taps, int64_t first, int64_t count,
                   float* dx) {
  const DepthwiseAxis &down = shape.down, &across = shape.across;
  const int64_t channels = shape.channels, pitch = across.outputs * channels;
  for (int64_t r = first; r < first + count; ++r) {
    const Readers above = ReadersOf(down, r % down.size);
    const float* const of_image = dy + (r / down.size * down.outputs + above.output) * pitch;
    for (int64_t i = 0; i < across.size; ++i) {
      const Readers beside = ReadersOf(across, i);
      const float* const from = of_image + beside.output * channels;
      float* const to = dx + (r * across.size + i) * channels;
      ForChannels(channels, [&](auto zero, int64_t c) {
        using V = decltype(zero);
        V sum = zero;
        for (int64_t k = 0; k < above.count; ++k) {
          const float* const row = taps + (above.tap + k * down.stride) * across.kernel * channels + c;
          for (int64_t j = 0; j < beside.count; ++j) {
            sum += Load<V>(from - k * pitch - j * channels + c) *
                   Load<V>(row + (beside.tap + j * across.stride) * channels);
          }
        }
        Store<V>(to + c, sum);
      });
    }
  }
}

template <int kKernel, int kStride>
void AddWeightGradient(const DepthwiseShape& shape, const float* x, const float* dy, int64_t first, int64_t count,
                       float* dtaps) {
  const int64_t channels = shape.channels, pitch = shape.across.size * channels;
  const int64_t kept_channels = (channels + 7) / 8 * 8;
  const Range interior = Interior(shape.across);
  for (int64_t r = first; r < first + count; ++r) {
    // `taps` is where the sums of the first row of taps that is inside are.
    const int64_t o_down = r % shape.down.outputs;
    const Row row = RowOf(shape, x, nullptr, r);
    float* const sums_of_row = dtaps + TapsInside(shape.down, o_down).begin * kKernel * kept_channels;
    const float* const of_row = dy + r * shape.across.outputs * channels;
    ForPixels(interior, [&](auto pixels, int64_t o) {
      constexpr int kPixels = decltype(pixels)::value;
      const float* const from = row.x + (o * kStride - shape.across.padding) * channels;
      ForSums(channels, [&](auto zero, int64_t c, int64_t kept) {
        using V = decltype(zero);
        V gradient[kPixels];
#pragma GCC unroll 8
        for (int j = 0; j < kPixels; ++j) gradient[j] = Load<V>(of_row + (o + j) * channels + c);
        for (int64_t k = 0; k < row.rows; ++k) {
          float* const to = sums_of_row + k * kKernel * kept_channels + kept;
          const float* read = from + k * pitch + c;
          V sums[kKernel];
#pragma GCC unroll 7
          for (int tap = 0; tap < kKernel; ++tap) sums[tap] = Load<V>(to + tap * kept_channels);
#pragma GCC unroll 32
          for (int t = 0; t < (kPixels - 1) * kStride + kKernel; ++t, read += channels) {
            const V value = Load<V>(read);
#pragma GCC unroll 8
            for (int j = 0; j < kPixels; ++j) {
              const int tap = t - j * kStride;
              if (tap >= 0 && tap < kKernel) sums[tap] += value * gradient[j];
            }
          }
#pragma GCC unroll 7
          for (int tap = 0; tap < kKernel; ++tap) Store<V>(to + tap * kept_channels, sums[tap]);
        }
      });
    });
    const auto at_border = [&](int64_t o) {
      const Range inside = TapsInside(shape.across, o);
      const float* const from = row.x + (o * kStride - shape.across.padding) * channels;
      ForSums(channels, [&](auto zero, int64_t c, int64_t kept) {
        using V = decltype(zero);
        const V gradient = Load<V>(of_row + o * channels + c);
        for (int64_t k = 0; k < row.rows; ++k) {
          for (int64_t j = inside.begin; j < inside.end; ++j) {
            float* const to = sums_of_row + (k * kKernel + j) * kept_channels + kept;
            Store<V>(to, Load<V>(to) + Load<V>(from + k * pitch + j * channels + c) * gradient);
          }
        }
      });
    };
    for (int64_t o = 0; o < interior.begin; ++o) at_border(o);
    for (int64_t o = interior.end; o < shape.across.outputs; ++o) at_border(o);
  }
}

// The functions of each kernel width and stride that there are.
struct ForWindow {
  decltype(&Forward<3, 1>) forward;
  decltype(&AddWeightGradient<3, 1>) add_weight_gradient;
};
template <int kKernel, int kStride>
constexpr ForWindow Of() {
  return {&Forward<kKernel, kStride>, &AddWeightGradient<kKernel, kStride>};
}
const ForWindow& Find(const DepthwiseAxis& across) {
  static constexpr ForWindow kWindows[3][2] = {
      {Of<3, 1>(), Of<3, 2>()}, {Of<5, 1>(), Of<5, 2>()}, {Of<7, 1>(), Of<7, 2>()}};
  return kWindows[across.kernel / 2 - 1][across.stride - 1];
}

void AnyForward(const DepthwiseShape& shape, const float* x, const float* taps, const DepthwiseOutput& output,
                int64_t first, int64_t count, float* y) {
  Find(shape.across).forward(shape, x, taps, output, first, count, y);
}

void AnyAddWeightGradient(const DepthwiseShape& shape, const float* x, const float* dy, int64_t first, int64_t count,
                          float* dtaps) {
  Find(shape.across).add_weight_gradient(shape, x, dy, first, count, dtaps);
}

}  // namespace

DepthwiseRows FindDepthwise() { return {&AnyForward, &InputGradient, &AnyAddWeightGradient}; }

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
