#include "ml/kernels/integer_conv/rows.h"

#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

#define PRUNELAB_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)

// 16 sums of outputs.
using Sums = __m512i;
constexpr int kOutputs = 16;

PRUNELAB_INLINE Sums LoadSums(const int32_t* from) { return _mm512_loadu_si512(from); }

// The first `count` of the sums, of which the last vector of a pixel may have fewer than 16.
PRUNELAB_INLINE void StoreSums(int32_t* to, Sums sums, int64_t count) {
  _mm512_mask_storeu_epi32(to, static_cast<__mmask16>(count >= kOutputs ? 0xffff : (1 << count) - 1), sums);
}

// What is added, multiplied and so on for 16 outputs; read once for many pixels.
struct Rescaler {
  PRUNELAB_INLINE Rescaler(const IntegerRescaling& r, int64_t at)
      : low(r.first - r.zero_point), high(r.last - r.zero_point), zero_point(r.zero_point) {
    for (int k = 0; k < 2; ++k) {
      multiplier[k] = _mm512_loadu_si512(r.multiplier + at + 8 * k);
      half[k] = _mm512_loadu_si512(r.half + at + 8 * k);
      shift[k] = _mm512_loadu_si512(r.shift + at + 8 * k);
    }
  }
  PRUNELAB_INLINE __m256i Half(__m256i sums, int k) const {
    const __m512i product = _mm512_mul_epi32(_mm512_cvtepi32_epi64(sums), multiplier[k]);
    return _mm512_cvtsepi64_epi32(_mm512_srav_epi64(_mm512_add_epi64(product, half[k]), shift[k]));
  }
  __m512i multiplier[2], half[2], shift[2];
  int32_t low, high, zero_point;
};

// The first `count` of 16 places.
PRUNELAB_INLINE void StorePlaces(uint8_t* to, Sums sums, const Rescaler& r, int64_t count) {
  const __m256i first = r.Half(_mm512_castsi512_si256(sums), 0);
  const __m256i second = r.Half(_mm512_extracti64x4_epi64(sums, 1), 1);
  // A place may be 2^31 away from the grid: cut off before the zero point is added.
  __m512i places = _mm512_inserti64x4(_mm512_castsi256_si512(first), second, 1);
  places = _mm512_min_epi32(_mm512_max_epi32(places, _mm512_set1_epi32(r.low)), _mm512_set1_epi32(r.high));
  const __m128i bytes = _mm512_cvtepi32_epi8(_mm512_add_epi32(places, _mm512_set1_epi32(r.zero_point)));
  if (count >= kOutputs) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), bytes);
  } else {
    _mm_mask_storeu_epi8(to, static_cast<__mmask16>((1 << count) - 1), bytes);
  }
}

#ifdef __AVX512VNNI__
constexpr int kInputs = 4;
PRUNELAB_INLINE Sums AddProducts(Sums sums, __m512i x, __m512i weights) {
  return _mm512_dpbusd_epi32(sums, x, weights);
}
#else
constexpr int kInputs = 2;
PRUNELAB_INLINE Sums AddProducts(Sums sums, __m512i x, __m512i weights) {
  return _mm512_add_epi32(sums, _mm512_madd_epi16(x, weights));
}
#endif

PRUNELAB_INLINE __m512i Repeated(const uint8_t* x) {
  int32_t inputs;
  __builtin_memcpy(&inputs, x, sizeof inputs);
  return _mm512_set1_epi32(inputs);
}
PRUNELAB_INLINE __m512i LoadWeights(const uint8_t* from) { return _mm512_loadu_si512(from); }

// 16 channels of a pixel as 32-bit numbers.
PRUNELAB_INLINE __m512i Widened(const uint8_t* x) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)));
}
// Of numbers below 2^15: their upper halves are zero, so that each sum of two products is one product.
PRUNELAB_INLINE Sums AddProduct(Sums sums, __m512i x, __m512i weights) {
#ifdef __AVX512VNNI__
  return _mm512_dpwssd_epi32(sums, x, weights);
#else
  return _mm512_add_epi32(sums, _mm512_madd_epi16(x, weights));
#endif
}

#elif defined(__AVX2__)

using Sums = __m256i;
constexpr int kOutputs = 8, kInputs = 2;

PRUNELAB_INLINE Sums LoadSums(const int32_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

PRUNELAB_INLINE void StoreSums(int32_t* to, Sums sums, int64_t count) {
  alignas(32) int32_t values[kOutputs];
  _mm256_store_si256(reinterpret_cast<__m256i*>(values), sums);
  for (int64_t i = 0; i < count && i < kOutputs; ++i) to[i] = values[i];
}

// As above, for 8 outputs.
struct Rescaler {
  PRUNELAB_INLINE Rescaler(const IntegerRescaling& r, int64_t at)
      : first(r.first), last(r.last), zero_point(r.zero_point) {
    for (int k = 0; k < 2; ++k) {
      const auto load = [at, k](const int64_t* from) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + at + 4 * k));
      };
      multiplier[k] = load(r.multiplier);
      half[k] = load(r.half);
      shift[k] = load(r.shift);
    }
  }
  // Shifts of this instruction set bring in zeros, so the number is made positive first: it is above -2^62.
  PRUNELAB_INLINE __m256i Half(__m128i sums, int k) const {
    const __m256i offset = _mm256_set1_epi64x(int64_t{1} << 62);
    const __m256i product = _mm256_mul_epi32(_mm256_cvtepi32_epi64(sums), multiplier[k]);
    const __m256i raised = _mm256_add_epi64(_mm256_add_epi64(product, half[k]), offset);
    return _mm256_sub_epi64(_mm256_srlv_epi64(raised, shift[k]), _mm256_srlv_epi64(offset, shift[k]));
  }
  __m256i multiplier[2], half[2], shift[2];
  int32_t first, last, zero_point;
};

PRUNELAB_INLINE void StorePlaces(uint8_t* to, Sums sums, const Rescaler& r, int64_t count) {
  alignas(32) int64_t values[kOutputs];
  _mm256_store_si256(reinterpret_cast<__m256i*>(values), r.Half(_mm256_castsi256_si128(sums), 0));
  _mm256_store_si256(reinterpret_cast<__m256i*>(values + 4), r.Half(_mm256_extracti128_si256(sums, 1), 1));
  for (int64_t i = 0; i < count && i < kOutputs; ++i) {
    const int64_t place = values[i] + r.zero_point;
    to[i] = static_cast<uint8_t>(place < r.first ? r.first : place > r.last ? r.last : place);
  }
}

PRUNELAB_INLINE Sums AddProducts(Sums sums, __m256i x, __m256i weights) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(x, weights));
}
PRUNELAB_INLINE __m256i Repeated(const uint8_t* x) {
  int32_t inputs;
  __builtin_memcpy(&inputs, x, sizeof inputs);
  return _mm256_set1_epi32(inputs);
}
PRUNELAB_INLINE __m256i LoadWeights(const uint8_t* from) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}
PRUNELAB_INLINE __m256i Widened(const uint8_t* x) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(x)));
}
PRUNELAB_INLINE Sums AddProduct(Sums sums, __m256i x, __m256i weights) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(x, weights));
}

#else

using Sums = int32_t;
constexpr int kOutputs = 1, kInputs = 1;

PRUNELAB_INLINE Sums LoadSums(const int32_t* from) { return *from; }
PRUNELAB_INLINE void StoreSums(int32_t* to, Sums sums, int64_t count) { *to = sums; }
struct Rescaler {
  PRUNELAB_INLINE Rescaler(const IntegerRescaling& rescaling, int64_t at) : r(rescaling), at(at) {}
  const IntegerRescaling& r;
  const int64_t at;
};
PRUNELAB_INLINE void StorePlaces(uint8_t* to, Sums sums, const Rescaler& rescaler, int64_t count) {
  const IntegerRescaling& r = rescaler.r;
  const int64_t at = rescaler.at;
  const int64_t place = ((sums * r.multiplier[at] + r.half[at]) >> r.shift[at]) + r.zero_point;
  *to = static_cast<uint8_t>(place < r.first ? r.first : place > r.last ? r.last : place);
}
// A sum may leave 32 bits on the way and come back, as those of vectors may.
PRUNELAB_INLINE Sums AddProducts(Sums sums, int32_t x, int32_t weights) {
  return static_cast<int32_t>(static_cast<uint32_t>(sums) + static_cast<uint32_t>(x * weights));
}
PRUNELAB_INLINE int32_t Repeated(const uint8_t* x) { return *x; }
PRUNELAB_INLINE int32_t LoadWeights(const uint8_t* from) { return static_cast<int8_t>(*from); }
PRUNELAB_INLINE int32_t Widened(const uint8_t* x) { return *x; }
PRUNELAB_INLINE Sums AddProduct(Sums sums, int32_t x, int32_t weights) { return AddProducts(sums, x, weights); }

#endif

// Bytes of one number of the inputs, and of a vector of weights.
constexpr int64_t kInputBytes = kInputs == 2 ? 2 : 1;
constexpr int64_t kStepBytes = kInputs * kInputBytes, kWeightBytes = kOutputs * kStepBytes;

// Sums of one vector of outputs from `channel` on, of `Count` pixels from `pixel` on.
template <int Count>
PRUNELAB_INLINE void StoreResults(const IntegerConvRow& row, int64_t pixel, int64_t channel,
                                  const Sums (&sums)[Count]) {
  const int64_t count = row.channels - channel, stride = row.stride, at = pixel * stride + channel;
  if (row.y != nullptr) {
    const Rescaler rescaler(row.rescaling, channel);
    uint8_t* y = row.y + at;
#pragma GCC unroll 16
    for (int p = 0; p < Count; ++p) StorePlaces(y + p * stride, sums[p], rescaler, count);
  } else {
#pragma GCC unroll 16
    for (int p = 0; p < Count; ++p) StoreSums(row.sums + at + p * stride, sums[p], count);
  }
}

template <int Pixels, int Blocks>
PRUNELAB_INLINE void StartWithBias(const IntegerConvRow& row, int64_t block, Sums (&sums)[Blocks][Pixels]) {
#pragma GCC unroll 4
  for (int b = 0; b < Blocks; ++b) {
    const Sums bias = LoadSums(row.bias + (block + b) * kOutputs);
#pragma GCC unroll 16
    for (int p = 0; p < Pixels; ++p) sums[b][p] = bias;
  }
}

// `Pixels` pixels from `pixel` on, and `Blocks` vectors of outputs from `block` on: all sums stay in registers.
template <int Pixels, int Blocks>
PRUNELAB_INLINE void Tile(const IntegerConvRow& row, int64_t pixel, int64_t block) {
  Sums sums[Blocks][Pixels];
  StartWithBias(row, block, sums);
  const int64_t block_bytes = row.tap_count * row.steps * kWeightBytes;
  const uint8_t* weights = row.weights + block * block_bytes;
  const uint8_t* first = row.x + pixel * row.pixel;
  for (int64_t tap = 0; tap < row.tap_count; ++tap) {
    const uint8_t* x = first + row.taps[tap];
    for (int64_t step = 0; step < row.steps; ++step, x += kStepBytes, weights += kWeightBytes) {
      decltype(LoadWeights(weights)) w[Blocks];
#pragma GCC unroll 4
      for (int b = 0; b < Blocks; ++b) w[b] = LoadWeights(weights + b * block_bytes);
#pragma GCC unroll 16
      for (int p = 0; p < Pixels; ++p) {
        const auto inputs = Repeated(x + p * row.pixel);
#pragma GCC unroll 4
        for (int b = 0; b < Blocks; ++b) sums[b][p] = AddProducts(sums[b][p], inputs, w[b]);
      }
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < Blocks; ++b) StoreResults<Pixels>(row, pixel, (block + b) * kOutputs, sums[b]);
}

// The same where taps come in threes that read neighbouring pixels: each pixel is read once for three taps.
template <int Pixels, int Blocks>
PRUNELAB_INLINE void TileOfThree(const IntegerConvRow& row, int64_t pixel, int64_t block) {
  Sums sums[Blocks][Pixels];
  StartWithBias(row, block, sums);
  const int64_t tap_bytes = row.steps * kWeightBytes, block_bytes = row.tap_count * tap_bytes;
  const uint8_t* weights = row.weights + block * block_bytes;
  const uint8_t* first = row.x + pixel * row.pixel;
  for (int64_t tap = 0; tap < row.tap_count; tap += 3, weights += 2 * tap_bytes) {
    const uint8_t* x = first + row.taps[tap];
    for (int64_t step = 0; step < row.steps; ++step, x += kStepBytes, weights += kWeightBytes) {
      decltype(LoadWeights(weights)) w[Blocks][3];
#pragma GCC unroll 4
      for (int b = 0; b < Blocks; ++b) {
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) w[b][k] = LoadWeights(weights + b * block_bytes + k * tap_bytes);
      }
#pragma GCC unroll 18
      for (int p = 0; p < Pixels + 2; ++p) {
        const auto inputs = Repeated(x + p * row.pixel);
#pragma GCC unroll 3
        for (int k = 0; k < 3; ++k) {
          if (p - k < 0 || p - k >= Pixels) continue;
#pragma GCC unroll 4
          for (int b = 0; b < Blocks; ++b) sums[b][p - k] = AddProducts(sums[b][p - k], inputs, w[b][k]);
        }
      }
    }
  }
#pragma GCC unroll 4
  for (int b = 0; b < Blocks; ++b) StoreResults<Pixels>(row, pixel, (block + b) * kOutputs, sums[b]);
}

// With 32 registers there are 16 sums beside weights and inputs, with 16 registers 8.
#ifdef __AVX512F__
constexpr int kMostSums = 16;
#else
constexpr int kMostSums = 8;
#endif

// All pixels of the row for some vectors of outputs: tiles of `Most` pixels, then halves of that.
template <int Most, int Blocks>
void Pixels(const IntegerConvRow& row, int64_t block) {
  int64_t pixel = 0;
  // With several vectors of outputs a pixel serves as many products as it is, and their weights need the registers.
  if constexpr (Blocks == 1 && kMostSums == 16) {
    if (row.threes) {
      for (; pixel + Most <= row.pixels; pixel += Most) TileOfThree<Most, Blocks>(row, pixel, block);
    }
  }
  for (; pixel + Most <= row.pixels; pixel += Most) Tile<Most, Blocks>(row, pixel, block);
  if constexpr (Most > 8) {
    if (pixel + 8 <= row.pixels) {
      Tile<8, Blocks>(row, pixel, block);
      pixel += 8;
    }
  }
  if constexpr (Most > 4) {
    if (pixel + 4 <= row.pixels) {
      Tile<4, Blocks>(row, pixel, block);
      pixel += 4;
    }
  }
  if constexpr (Most > 2) {
    if (pixel + 2 <= row.pixels) {
      Tile<2, Blocks>(row, pixel, block);
      pixel += 2;
    }
  }
  if (pixel < row.pixels) Tile<1, Blocks>(row, pixel, block);
}

void Row(const IntegerConvRow& row) {
  const int64_t blocks = (row.channels + kOutputs - 1) / kOutputs;
  int64_t block = 0;
  for (; block + 4 <= blocks; block += 4) Pixels<kMostSums / 4, 4>(row, block);
  for (; block + 2 <= blocks; block += 2) Pixels<kMostSums / 2, 2>(row, block);
  for (; block < blocks; ++block) Pixels<kMostSums, 1>(row, block);
}

template <int Count>
PRUNELAB_INLINE void DepthwiseTile(const IntegerConvRow& row, int64_t pixel, int64_t channel) {
  Sums sums[Count];
#pragma GCC unroll 8
  for (int p = 0; p < Count; ++p) sums[p] = LoadSums(row.bias + channel);
  const uint8_t* first = row.x + pixel * row.pixel + channel;
  const int64_t vectors = (row.channels + kOutputs - 1) / kOutputs;
  for (int64_t tap = 0; tap < row.tap_count; ++tap) {
    const uint8_t* x = first + row.taps[tap];
    const Sums weights = LoadSums(reinterpret_cast<const int32_t*>(row.weights) + tap * vectors * kOutputs + channel);
#pragma GCC unroll 8
    for (int p = 0; p < Count; ++p) sums[p] = AddProduct(sums[p], Widened(x + p * row.pixel), weights);
  }
  StoreResults<Count>(row, pixel, channel, sums);
}

void Depthwise(const IntegerConvRow& row) {
  for (int64_t channel = 0; channel < row.channels; channel += kOutputs) {
    int64_t pixel = 0;
    for (; pixel + 8 <= row.pixels; pixel += 8) DepthwiseTile<8>(row, pixel, channel);
    for (; pixel < row.pixels; ++pixel) DepthwiseTile<1>(row, pixel, channel);
  }
}

}  // namespace

IntegerConvRows FindIntegerConv() { return {kInputs, kOutputs, &Row, &Depthwise}; }

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
