#include "ml/kernels/conv3x3/rows.h"

#include "ml/kernels/vectors.h"

// PRUNELAB_INSTRUCTION_SET is avx2 or avx512, according to the flags of this compilation.
namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

#ifdef __AVX512F__
constexpr int kTiles = 8;  // or inputs, whose sums are in registers at a time
#else
constexpr int kTiles = 4;
#endif

// Calls body(V{}, c) for all channels c, a multiple of eight: vectors of the widest kind, then of eight.
template <typename Body>
inline __attribute__((always_inline)) void ForChannels(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + Lanes<Widest>() <= channels; c += Lanes<Widest>()) body(Widest{}, c);
  for (; c < channels; c += 8) body(Float8{}, c);
}

// Transformed values in the scratch are in blocks of as many channels as a vector V has, one after the other; within a
// block in the order [position][tile][channel of the block]. Between positions there is one cache line more than the
// tiles take, so that they do not use the same lines of the cache. All distances are constants, so that loops need few
// registers for addresses.
template <typename V>
constexpr int PositionStride() {
  return kConv3x3Tiles * Lanes<V>() + 16;
}
template <typename V>
constexpr int BlockStride() {
  return 16 * PositionStride<V>();
}
// Where the block of channel c begins. The blocks before it are of the widest kind.
inline int64_t BlockOffset(int64_t c) { return c / Lanes<Widest>() * BlockStride<Widest>(); }
// The size of all of them, at most.
inline int64_t BlocksSize(int64_t channels) { return BlockOffset(channels + Lanes<Widest>() - 1); }

// F(2x2, 3x3) of Winograd's minimal filtering (Lavin and Gray 2016), with the last row's sign turned in B and A:
//   y = A^T [ (G w G^T) * (B^T x B) ] A
//   B^T = 1  0 -1  0    G = 1    0    0     A^T = 1  1  1  0
//         0  1  1  0        1/2  1/2  1/2         0  1 -1  1
//         0 -1  1  0        1/2 -1/2  1/2
//         0 -1  0  1        0    0    1
template <typename V>
inline __attribute__((always_inline)) void TimesB(V x0, V x1, V x2, V x3, V (&v)[4]) {
  v[0] = x0 - x2;
  v[1] = x1 + x2;
  v[2] = x2 - x1;
  v[3] = x3 - x1;
}

// Transforms the inputs of a row of tiles, one block of channels, starting at c. `rows`: the four rows of pixels; a row
// outside the image is a row of zeros, and stays zero if BN and ReLU are applied first.
template <typename V, bool kNormalize>
inline __attribute__((always_inline)) void TransformInput(const float* const (&rows)[4], const bool (&inside)[4],
                                                          const Conv3x3Input& x, int64_t width, int64_t channels,
                                                          int64_t c, float* to) {
  const V scale = kNormalize ? Load<V>(x.scale + c) : V{}, shift = kNormalize ? Load<V>(x.shift + c) : V{};
  const auto value = [&](int k, int64_t offset) {
    const V loaded = Load<V>(rows[k] + offset);
    if (!kNormalize) return loaded;
    const V normalized = loaded * scale + shift;
    return inside[k] ? (normalized < V{} ? V{} : normalized) : V{};
  };
  const auto column = [&](int64_t pixel, V(&v)[4]) {
    const int64_t offset = pixel * channels + c;
    TimesB<V>(value(0, offset), value(1, offset), value(2, offset), value(3, offset), v);
  };
  // Columns 2 t - 1 to 2 t + 2 of tile t; the first two are the last two of the tile before.
  V x0[4] = {}, x1[4], x2[4], x3[4];
  column(0, x1);
  const auto store = [&] {
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      V v[4];
      TimesB<V>(x0[k], x1[k], x2[k], x3[k], v);
#pragma GCC unroll 4
      for (int j = 0; j < 4; ++j) Store(to + (4 * k + j) * PositionStride<V>(), v[j]);
      x0[k] = x2[k];
      x1[k] = x3[k];
    }
    to += Lanes<V>();
  };
  int64_t pixel = 1;
  for (; pixel + 1 < width; pixel += 2) {
    column(pixel, x2);
    column(pixel + 1, x3);
    store();
  }
  for (int k = 0; k < 4; ++k) x2[k] = x3[k] = V{};
  if (pixel < width) column(pixel, x2);
  store();
}

// All rows of tiles' inputs.
inline void TransformInputs(const Conv3x3Shape& shape, const Conv3x3Input& x, int64_t first, int64_t count,
                            const float* zeros, float* to) {
  const int64_t channels = shape.in, size = shape.width * channels;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t image = (first + i) / shape.tile_rows(), top = (first + i) % shape.tile_rows() * 2 - 1;
    const float* rows[4];
    bool inside[4];
    for (int k = 0; k < 4; ++k) {
      const int64_t row = top + k;
      inside[k] = row >= 0 && row < shape.height;
      rows[k] = inside[k] ? x.data + (image * shape.height + row) * size : zeros;
    }
    ForChannels(channels, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      float* const block = to + BlockOffset(c) + i * shape.tile_columns() * Lanes<V>();
      if (x.scale != nullptr) {
        TransformInput<V, true>(rows, inside, x, shape.width, channels, c, block);
      } else {
        TransformInput<V, false>(rows, inside, x, shape.width, channels, c, block);
      }
    });
  }
}

// Calls body(V{}, vectors as a constant, o) for panels of outputs.
template <int k>
struct Constant {
  static constexpr int value = k;
};
template <typename Body>
inline __attribute__((always_inline)) void ForPanels(int64_t out, const Body& body) {
  constexpr int kLanes = Lanes<Widest>();
  int64_t o = 0;
  for (; o + 2 * kLanes <= out; o += 2 * kLanes) body(Widest{}, Constant<2>(), o);
  for (; o + kLanes <= out; o += kLanes) body(Widest{}, Constant<1>(), o);
  for (; o < out; o += 8) body(Float8{}, Constant<1>(), o);
}

// sums[t][o] += sum over a block's channels i of a[t][i] b[i][o].
template <typename VIn, typename V, int kVectors>
inline __attribute__((always_inline)) void AddProducts(const float* a, const float* b, int64_t out,
                                                       V (&sums)[kTiles][kVectors]) {
  for (int i = 0; i < Lanes<VIn>(); ++i, b += out) {
    V w[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) w[v] = Load<V>(b + v * Lanes<V>());
#pragma GCC unroll 8
    for (int t = 0; t < kTiles; ++t) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[t][v] += w[v] * a[t * Lanes<VIn>() + i];
    }
  }
}

// The products of a position: kVectors vectors of outputs, kTiles tiles at a time in registers. After the last tile the
// scratch has room for whole groups; what is computed there is never read.
template <typename V, int kVectors>
inline void Products(const float* inputs, int64_t p, int64_t tiles, int64_t in, const float* b, int64_t out,
                     float* to) {
  for (int64_t t = 0; t < tiles; t += kTiles) {
    V sums[kTiles][kVectors] = {};
    const float* weights = b;
    ForChannels(in, [&](auto zero, int64_t c) {
      using VIn = decltype(zero);
      AddProducts<VIn>(inputs + BlockOffset(c) + p * PositionStride<VIn>() + t * Lanes<VIn>(), weights, out, sums);
      weights += Lanes<VIn>() * out;
    });
#pragma GCC unroll 8
    for (int k = 0; k < kTiles; ++k) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) Store(to + v * BlockStride<V>() + (t + k) * Lanes<V>(), sums[k][v]);
    }
  }
}

// Calls tile(whether it has two columns) for the tiles of a row of `width` pixels.
template <typename Tile>
inline __attribute__((always_inline)) void ForTiles(int64_t width, const Tile& tile) {
  int64_t pixel = 0;
  for (; pixel + 1 < width; pixel += 2) tile(true);
  if (pixel < width) tile(false);
}

// Where the outputs of a row of tiles begin, and whether they have two rows.
struct OutputRows {
  int64_t offset;
  bool two;
};
inline OutputRows OutputRowsOf(const Conv3x3Shape& shape, int64_t tile_row) {
  return {shape.PixelsBefore(tile_row) * shape.out, tile_row % shape.tile_rows() * 2 + 1 < shape.height};
}

// The outputs of a row of tiles, one block of channels, from c on, to one or two rows of y; addend's added, if kAdd.
template <typename V, bool kAdd>
inline __attribute__((always_inline)) void TransformOutput(const float* from, int64_t channels, int64_t c,
                                                           int64_t width, bool two_rows, const float* addend,
                                                           float* y) {
  float *above = y + c, *below = above + (two_rows ? width * channels : 0);
  const auto store = [&](float* to, V value) {
    if (kAdd) value += Load<V>(addend + (to - y));
    Store<V>(to, value);
  };
  ForTiles(width, [&](bool two_columns) {
    V s[2][4];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const auto at = [&](int k) { return Load<V>(from + (4 * k + j) * PositionStride<V>()); };
      const V middle = at(1), last = at(2);
      s[0][j] = at(0) + middle + last;
      s[1][j] = middle - last + at(3);
    }
    // If there is only one row, the second is written first and then overwritten.
    store(below, s[1][0] + s[1][1] + s[1][2]);
    if (two_columns) store(below + channels, s[1][1] - s[1][2] + s[1][3]);
    store(above, s[0][0] + s[0][1] + s[0][2]);
    if (two_columns) store(above + channels, s[0][1] - s[0][2] + s[0][3]);
    from += Lanes<V>();
    above += 2 * channels;
    below += 2 * channels;
  });
}

// Transformed inputs, products or transformed gradients.
int64_t ScratchSize(const Conv3x3Shape& shape) { return BlocksSize(shape.in) + BlocksSize(shape.out); }

void Convolve(const Conv3x3Shape& shape, const Conv3x3Input& x, const float* zeros, const float* transformed,
              int64_t first, int64_t count, const float* addend, float* y, float* scratch) {
  const int64_t in = shape.in, out = shape.out, columns = shape.tile_columns(), tiles = count * columns;
  const int64_t begin = shape.PixelsBefore(first) * out;
  float* const products = scratch + BlocksSize(in);
  TransformInputs(shape, x, first, count, zeros, scratch);
  for (int p = 0; p < 16; ++p) {
    ForPanels(out, [&](auto zero, auto vectors, int64_t o) {
      using V = decltype(zero);
      Products<V, decltype(vectors)::value>(scratch, p, tiles, in, transformed + p * in * out + o, out,
                                            products + BlockOffset(o) + p * PositionStride<V>());
    });
  }
  for (int64_t i = 0; i < count; ++i) {
    const OutputRows rows = OutputRowsOf(shape, first + i);
    ForChannels(out, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      const float* from = products + BlockOffset(c) + i * columns * Lanes<V>();
      const int64_t offset = rows.offset - begin;
      if (addend != nullptr) {
        TransformOutput<V, true>(from, out, c, shape.width, rows.two, addend + offset, y + offset);
      } else {
        TransformOutput<V, false>(from, out, c, shape.width, rows.two, nullptr, y + offset);
      }
    });
  }
}

// Integers as many as a vector has lanes.
template <typename V>
struct IntegersOf;
template <>
struct IntegersOf<Float8> {
  typedef int32_t Type __attribute__((vector_size(sizeof(Float8))));
};
#ifdef __AVX512F__
template <>
struct IntegersOf<Widest> {
  typedef int32_t Type __attribute__((vector_size(sizeof(Widest))));
};
#endif

// The lanes of `values` that `lane` names. GCC has an instruction for lanes that are known only at run time; Clang,
// which builds this for fuzzing, has none.
template <typename V>
V Chosen(V values, typename IntegersOf<V>::Type lane) {
#ifdef __clang__
  V chosen;
  for (int i = 0; i < Lanes<V>(); ++i) chosen[i] = values[lane[i]];
  return chosen;
#else
  return __builtin_shuffle(values, lane);
#endif
}

// How channels c to c + Lanes<V>() of the output are formed from consecutive ones of y, starting at `first`.
template <typename V>
struct Placing {
  typename IntegersOf<V>::Type lane{}, keep{};  // keep: all bits where there is a channel
  int64_t first;

  Placing(const int32_t* position, int64_t stored, int64_t c) {
    for (first = 0; first < stored && position[first] < c;) ++first;
    for (int64_t k = first; k < stored && position[k] < c + Lanes<V>(); ++k) {
      lane[position[k] - c] = static_cast<int32_t>(k - first);
      keep[position[k] - c] = -1;
    }
  }
  V operator()(const float* y) const {
    typedef typename IntegersOf<V>::Type Integers;
    return (V)((Integers)Chosen(Load<V>(y + first), lane) & keep);
  }
};

// `pixels` pixels of the output, one block of channels from c on; y, addend, picture and out are at the first of them.
template <typename V, bool kPlaced, bool kAddend, bool kPicture>
inline void FinishChannels(const Conv3x3Output& output, int64_t stored, int64_t c, int64_t pixels, const float* y,
                           const float* addend, const float* picture, float* out) {
  const int64_t channels = output.channels;
  const V shift = Load<V>(output.shift + c);
  const V least = output.relu ? V{} : V{} - __builtin_inff();
  const Placing<V> place(output.position, kPlaced ? stored : 0, c);
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    const int64_t i = pixel * channels + c;
    V value = (kPlaced ? place(y + pixel * stored) : Load<V>(y + i)) + shift;
    if (kPicture) value += Load<V>(picture + i);
    if (kAddend) value += Load<V>(addend + i);
    Store<V>(out + i, value < least ? least : value);  // NaN passes, as in LibTorch's relu
  }
}

template <bool kPlaced, bool kAddend, bool kPicture>
void FinishPixels(const Conv3x3Output& output, int64_t stored, int64_t pixels, const float* y, const float* addend,
                  const float* picture, float* out) {
  ForChannels(output.channels, [&](auto zero, int64_t c) {
    FinishChannels<decltype(zero), kPlaced, kAddend, kPicture>(output, stored, c, pixels, y, addend, picture, out);
  });
}

void Finish(const Conv3x3Shape& shape, const Conv3x3Output& output, int64_t first, int64_t count, const float* y,
            float* out) {
  constexpr decltype(&FinishPixels<false, false, false>) kKinds[2][2][2] = {
      {{&FinishPixels<false, false, false>, &FinishPixels<false, false, true>},
       {&FinishPixels<false, true, false>, &FinishPixels<false, true, true>}},
      {{&FinishPixels<true, false, false>, &FinishPixels<true, false, true>},
       {&FinishPixels<true, true, false>, &FinishPixels<true, true, true>}}};
  const bool placed = output.position != nullptr;
  const auto finish = kKinds[placed][output.addend != nullptr][output.picture != nullptr];
  const int64_t begin = shape.PixelsBefore(first), end = shape.PixelsBefore(first + count);
  const int64_t image = shape.height * shape.width;
  // A picture starts again with each image.
  for (int64_t pixel = begin, next = 0; pixel < end; pixel = next) {
    const int64_t end_of_image = (pixel / image + 1) * image;
    next = output.picture != nullptr && end_of_image < end ? end_of_image : end;
    finish(output, shape.out, next - pixel, y + (pixel - begin) * shape.out,
           output.addend != nullptr ? output.addend + pixel * output.channels : nullptr,
           output.picture != nullptr ? output.picture + pixel % image * output.channels : nullptr,
           out + (pixel - begin) * output.channels);
  }
}

// A dy A^T of a row of tiles, one block of channels, from c on: what the products' gradient is.
template <typename V>
inline __attribute__((always_inline)) void TransformGradient(const float* dy, int64_t width, bool two_rows,
                                                             int64_t channels, int64_t c, float* to) {
  const float *above = dy + c, *below = above + (two_rows ? width * channels : 0);
  ForTiles(width, [&](bool two_columns) {
    const V d00 = Load<V>(above), d01 = two_columns ? Load<V>(above + channels) : V{};
    const V d10 = two_rows ? Load<V>(below) : V{};
    const V d11 = two_rows && two_columns ? Load<V>(below + channels) : V{};
    const V left[4] = {d00, d00 + d10, d00 - d10, d10}, right[4] = {d01, d01 + d11, d01 - d11, d11};
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      float* row = to + 4 * k * PositionStride<V>();
      Store<V>(row, left[k]);
      Store<V>(row + PositionStride<V>(), left[k] + right[k]);
      Store<V>(row + 2 * PositionStride<V>(), left[k] - right[k]);
      Store<V>(row + 3 * PositionStride<V>(), right[k]);
    }
    to += Lanes<V>();
    above += 2 * channels;
    below += 2 * channels;
  });
}

// c[i][o] += sum over tiles of a[t][i] b[t][o], kTiles inputs of a block of VIn and kVectors vectors: in registers.
template <typename VIn, typename V, int kVectors>
inline __attribute__((always_inline)) void AddOuterProducts(const float* a, const float* b, int64_t tiles, int64_t out,
                                                            float* c) {
  V sums[kTiles][kVectors];
#pragma GCC unroll 8
  for (int i = 0; i < kTiles; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[i][v] = Load<V>(c + i * out + v * Lanes<V>());
  }
  for (int64_t t = 0; t < tiles; ++t, a += Lanes<VIn>(), b += Lanes<V>()) {
    V d[kVectors];
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) d[v] = Load<V>(b + v * BlockStride<V>());
#pragma GCC unroll 8
    for (int i = 0; i < kTiles; ++i) {
#pragma GCC unroll 2
      for (int v = 0; v < kVectors; ++v) sums[i][v] += d[v] * a[i];
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < kTiles; ++i) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) Store(c + i * out + v * Lanes<V>(), sums[i][v]);
  }
}

void AddWeightGradient(const Conv3x3Shape& shape, const Conv3x3Input& x, const float* zeros, const float* dy,
                       int64_t first, int64_t count, float* gradient, float* scratch) {
  const int64_t in = shape.in, out = shape.out, columns = shape.tile_columns(), tiles = count * columns;
  float* const outputs = scratch + BlocksSize(in);
  TransformInputs(shape, x, first, count, zeros, scratch);
  for (int64_t i = 0; i < count; ++i) {
    const OutputRows rows = OutputRowsOf(shape, first + i);
    ForChannels(out, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      TransformGradient<V>(dy + rows.offset, shape.width, rows.two, out, c,
                           outputs + BlockOffset(c) + i * columns * Lanes<V>());
    });
  }
  for (int p = 0; p < 16; ++p) {
    ForPanels(out, [&](auto zero, auto vectors, int64_t o) {
      using V = decltype(zero);
      const float* b = outputs + BlockOffset(o) + p * PositionStride<V>();
      ForChannels(in, [&](auto zero_in, int64_t c) {
        using VIn = decltype(zero_in);
        const float* a = scratch + BlockOffset(c) + p * PositionStride<VIn>();
        for (int i = 0; i < Lanes<VIn>(); i += kTiles) {
          AddOuterProducts<VIn, V, decltype(vectors)::value>(a + i, b, tiles, out,
                                                             gradient + (p * in + c + i) * out + o);
        }
      });
    });
  }
}

// G w of three taps; V is float if channels are not adjacent.
template <typename V>
inline __attribute__((always_inline)) void TimesG(V w0, V w1, V w2, V (&u)[4]) {
  const V half = 0.5f * (w0 + w2), middle = 0.5f * w1;
  u[0] = w0;
  u[1] = half + middle;
  u[2] = half - middle;
  u[3] = w2;
}

// G w G^T of nine taps, w[3 ky + kx].
template <typename V>
inline __attribute__((always_inline)) void TransformTaps(const V (&w)[9], V (&u)[16]) {
  V columns[3][4];
#pragma GCC unroll 3
  for (int kx = 0; kx < 3; ++kx) TimesG<V>(w[kx], w[3 + kx], w[6 + kx], columns[kx]);
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    V row[4];
    TimesG<V>(columns[0][k], columns[1][k], columns[2][k], row);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) u[4 * k + j] = row[j];
  }
}

// Rows to columns of eight by eight numbers.
inline void Transpose(const float (&from)[8][8], float* to, int64_t stride) {
  Float8 pairs[8], fours[8];
#pragma GCC unroll 4
  for (int k = 0; k < 8; k += 2) {
    const Float8 a = Load<Float8>(from[k]), b = Load<Float8>(from[k + 1]);
    pairs[k] = __builtin_shufflevector(a, b, 0, 8, 1, 9, 4, 12, 5, 13);
    pairs[k + 1] = __builtin_shufflevector(a, b, 2, 10, 3, 11, 6, 14, 7, 15);
  }
#pragma GCC unroll 2
  for (int k = 0; k < 8; k += 4) {
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      const Float8 a = pairs[k + half], b = pairs[k + 2 + half];
      fours[k + 2 * half] = __builtin_shufflevector(a, b, 0, 1, 8, 9, 4, 5, 12, 13);
      fours[k + 2 * half + 1] = __builtin_shufflevector(a, b, 2, 3, 10, 11, 6, 7, 14, 15);
    }
  }
#pragma GCC unroll 4
  for (int k = 0; k < 4; ++k) {
    const Float8 a = fours[k], b = fours[k + 4];
    Store(to + k * stride, __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11));
    Store(to + (k + 4) * stride, __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15));
  }
}

void TransformWeight(const Conv3x3Shape& shape, const float* weight, float* transformed) {
  const int64_t in = shape.in, out = shape.out;
  for (int64_t o = 0; o < out; o += 8) {
    for (int64_t i = 0; i < in; i += 8) {
      float block[16][8][8];  // [position][out][in]
      for (int k = 0; k < 8; ++k) {
        Float8 w[9], u[16];
#pragma GCC unroll 9
        for (int tap = 0; tap < 9; ++tap) w[tap] = Load<Float8>(weight + ((o + k) * 9 + tap) * in + i);
        TransformTaps<Float8>(w, u);
#pragma GCC unroll 16
        for (int p = 0; p < 16; ++p) Store(block[p][k], u[p]);
      }
      for (int p = 0; p < 16; ++p) Transpose(block[p], transformed + (p * in + i) * out + o, out);
    }
  }
}

void TransformWeightForInput(const Conv3x3Shape& shape, const float* weight, float* transformed) {
  const int64_t in = shape.in, out = shape.out;
  for (int64_t o = 0; o < out; ++o) {
    for (int64_t i = 0; i < in; i += 8) {
      Float8 w[9], u[16];
#pragma GCC unroll 9
      for (int tap = 0; tap < 9; ++tap) w[tap] = Load<Float8>(weight + (o * 9 + 8 - tap) * in + i);
      TransformTaps<Float8>(w, u);
      for (int p = 0; p < 16; ++p) Store(transformed + (p * out + o) * in + i, u[p]);
    }
  }
}

// G^T u of four.
template <typename V>
inline __attribute__((always_inline)) void TimesGTransposed(V u0, V u1, V u2, V u3, V (&w)[3]) {
  const V half = 0.5f * (u1 + u2);
  w[0] = u0 + half;
  w[1] = 0.5f * (u1 - u2);
  w[2] = half + u3;
}

void WeightFromTransformed(const Conv3x3Shape& shape, const float* gradient, float* dweight) {
  const int64_t size = shape.in * shape.out;
  for (int64_t i = 0; i < size; i += 8) {
    Float8 columns[4][3];
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) {
      const float* from = gradient + j * size + i;
      TimesGTransposed<Float8>(Load<Float8>(from), Load<Float8>(from + 4 * size), Load<Float8>(from + 8 * size),
                               Load<Float8>(from + 12 * size), columns[j]);
    }
#pragma GCC unroll 3
    for (int ky = 0; ky < 3; ++ky) {
      Float8 row[3];
      TimesGTransposed<Float8>(columns[0][ky], columns[1][ky], columns[2][ky], columns[3][ky], row);
#pragma GCC unroll 3
      for (int kx = 0; kx < 3; ++kx) Store(dweight + (3 * ky + kx) * size + i, row[kx]);
    }
  }
}

}  // namespace

Conv3x3Rows FindConv3x3() {
  return {&TransformWeight, &TransformWeightForInput, &ScratchSize,          &Convolve,
          &Finish,          &AddWeightGradient,       &WeightFromTransformed};
}

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
