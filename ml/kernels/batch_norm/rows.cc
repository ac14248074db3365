#include "ml/kernels/batch_norm/rows.h"

#include "ml/kernels/vectors.h"

#ifdef __AVX512F__
#include <immintrin.h>
#endif

// PRUNELAB_INSTRUCTION_SET is generic, avx2 or avx512, according to the flags of this compilation.
namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

constexpr int kLanes = 8;
typedef double Double8 __attribute__((vector_size(kLanes * sizeof(double))));

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = Float8;
};
template <>
struct VectorOf<double> {
  using Type = Double8;
};

#ifdef __AVX512F__
template <typename T>
struct WideVectorOf : VectorOf<T> {};
template <>
struct WideVectorOf<float> {
  using Type = Widest;
};
#endif

template <typename V>
inline __attribute__((always_inline)) V Zero() {
  return V{};
}
// NaN passes, as in LibTorch's relu and its gradient. So does everything where the ceiling is NaN: there is none then.
template <typename V>
inline __attribute__((always_inline)) V Rectified(V x, V ceiling) {
  x = x < Zero<V>() ? Zero<V>() : x;
  return x > ceiling ? ceiling : x;
}
template <typename V>
inline __attribute__((always_inline)) V Gate(V output, V gradient, V ceiling) {
  gradient = output <= Zero<V>() ? Zero<V>() : gradient;
  return output >= ceiling ? Zero<V>() : gradient;
}
template <typename V, typename T>
inline __attribute__((always_inline)) V Ceiling(const Rectifier& relu) {
  return Zero<V>() + (relu.has_ceiling() ? static_cast<T>(relu.ceiling) : static_cast<T>(__builtin_nan("")));
}
inline double Lane(float value, int) { return value; }
inline double Lane(double value, int) { return value; }
template <typename V>
inline double Lane(const V& value, int lane) {
  return value[lane];
}

// Calls body(V{}, c) for all channels c: sixteen at a time if a register holds them, then eight, then one by one. A
// channel's sums do not depend on this, because each has its own lane.
template <typename T, typename Body>
inline __attribute__((always_inline)) void ForChannels(int64_t channels, const Body& body) {
  int64_t c = 0;
#ifdef __AVX512F__
  if (sizeof(T) == sizeof(float)) {
    for (; c + 16 <= channels; c += 16) body(typename WideVectorOf<T>::Type{}, c);
  }
#endif
  for (; c + kLanes <= channels; c += kLanes) body(typename VectorOf<T>::Type{}, c);
  for (; c < channels; ++c) body(T{}, c);
}

// The stored channels of `rows` rows to their places in full width; the others are 0 there.
template <typename T>
inline void Expand(const BatchNormLayout& layout, const T* y, int64_t rows, T* full) {
  for (int64_t r = 0; r < rows; ++r) {
    T* row = full + r * layout.channels;
    const T* stored = y + r * layout.stored;
    for (int64_t j = 0; j < layout.stored; ++j) row[layout.position[j]] = stored[j];
  }
}

// The reverse.
template <typename T>
inline void Compress(const BatchNormLayout& layout, const T* full, int64_t rows, T* y) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = full + r * layout.channels;
    T* stored = y + r * layout.stored;
    for (int64_t j = 0; j < layout.stored; ++j) stored[j] = row[layout.position[j]];
  }
}

#ifdef __AVX512F__
// AVX-512 has both as instructions, on sixteen channels. work(first channel, channels, first stored, those stored,
// their mask).
template <typename Work>
inline __attribute__((always_inline)) void ForSixteens(const BatchNormLayout& layout, const Work& work) {
  int64_t j = 0;
  for (int64_t c = 0; c < layout.channels; c += 16) {
    const int64_t first = j, end = layout.channels - c < 16 ? layout.channels : c + 16;
    __mmask16 mask = 0;
    for (; j < layout.stored && layout.position[j] < end; ++j) mask |= __mmask16(1u << (layout.position[j] - c));
    if (j > first) work(c, __mmask16((1u << (end - c)) - 1), first, __mmask16((1u << (j - first)) - 1), mask);
  }
}

inline void Expand(const BatchNormLayout& layout, const float* y, int64_t rows, float* full) {
  ForSixteens(layout, [&](int64_t c, __mmask16 all, int64_t first, __mmask16 stored, __mmask16 mask) {
    for (int64_t r = 0; r < rows; ++r) {
      const __m512 values = _mm512_maskz_loadu_ps(stored, y + r * layout.stored + first);
      _mm512_mask_storeu_ps(full + r * layout.channels + c, all, _mm512_maskz_expand_ps(mask, values));
    }
  });
}

inline void Compress(const BatchNormLayout& layout, const float* full, int64_t rows, float* y) {
  ForSixteens(layout, [&](int64_t c, __mmask16 all, int64_t first, __mmask16 stored, __mmask16 mask) {
    for (int64_t r = 0; r < rows; ++r) {
      const __m512 values = _mm512_maskz_loadu_ps(all, full + r * layout.channels + c);
      _mm512_mask_storeu_ps(y + r * layout.stored + first, stored, _mm512_maskz_compress_ps(mask, values));
    }
  });
}
#endif

// y of `rows` rows in full width. The channels that are not stored stay zero in the scratch.
template <typename T>
inline const T* FullWidth(const BatchNormLayout& layout, const T* y, int64_t rows, T* scratch) {
  if (layout.position == nullptr) return y;
  Expand(layout, y, rows, scratch);
  return scratch;
}

template <typename T>
void Statistics(const T* y, int64_t rows, int64_t channels, const T* pivot, double* sum, double* square) {
  // Short sums in T, long ones in double.
  constexpr int64_t kBlock = 128;
  for (int64_t begin = 0; begin < rows; begin += kBlock) {
    const int64_t count = rows - begin < kBlock ? rows - begin : kBlock;
    const T* block = y + begin * channels;
    ForChannels<T>(channels, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      const V p = Load<V>(pivot + c);
      V s = zero, q = zero;
      for (int64_t r = 0; r < count; ++r) {
        const V d = Load<V>(block + r * channels + c) - p;
        s += d;
        q += d * d;
      }
      for (int lane = 0; lane < Lanes<V, T>(); ++lane) {
        sum[c + lane] += Lane(s, lane);
        square[c + lane] += Lane(q, lane);
      }
    });
  }
}

template <typename T>
void Forward(const BatchNormLayout& layout, const T* y, const T* scale, const T* shift, const T* addend,
             const Rectifier& relu, T* out, T* scratch) {
  const int64_t channels = layout.channels, size = BatchNormBlock(channels);
  for (int64_t begin = 0; begin < layout.rows; begin += size) {
    const int64_t count = layout.rows - begin < size ? layout.rows - begin : size;
    const T* full = FullWidth(layout, y + begin * layout.stored, count, scratch);
    const int64_t offset = begin * channels;
    ForChannels<T>(channels, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      const V a = Load<V>(scale + c), b = Load<V>(shift + c), top = Ceiling<V, T>(relu);
      const T* from = full + c;
      T* to = out + offset + c;
      if (addend != nullptr) {
        const T* other = addend + offset + c;
        if (relu.on) {
          for (int64_t r = 0; r < count * channels; r += channels) {
            Store(to + r, Rectified<V>(Load<V>(from + r) * a + b + Load<V>(other + r), top));
          }
        } else {
          for (int64_t r = 0; r < count * channels; r += channels) {
            Store<V>(to + r, Load<V>(from + r) * a + b + Load<V>(other + r));
          }
        }
      } else if (relu.on) {
        for (int64_t r = 0; r < count * channels; r += channels) {
          Store(to + r, Rectified<V>(Load<V>(from + r) * a + b, top));
        }
      } else {
        for (int64_t r = 0; r < count * channels; r += channels) Store<V>(to + r, Load<V>(from + r) * a + b);
      }
    });
  }
}

template <typename T>
void BackwardSums(const BatchNormLayout& layout, const T* gradient, const T* y, const T* out, const T* scale,
                  const T* shift, const T* mean, const Rectifier& relu, T* gated, double* sum, double* product,
                  T* scratch) {
  const int64_t channels = layout.channels, size = BatchNormBlock(channels);
  for (int64_t begin = 0; begin < layout.rows; begin += size) {
    const int64_t count = layout.rows - begin < size ? layout.rows - begin : size;
    const T* full = FullWidth(layout, y + begin * layout.stored, count, scratch);
    const int64_t offset = begin * channels;
    ForChannels<T>(channels, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      const V a = Load<V>(scale + c), b = Load<V>(shift + c), m = Load<V>(mean + c);
      const V top = Ceiling<V, T>(relu);
      const T* of_y = full + c;
      const T* of_out = gradient + offset + c;
      V s = zero, p = zero;
      if (relu.on && out != nullptr) {
        const T* output = out + offset + c;
        T* to = gated + offset + c;
        for (int64_t r = 0; r < count * channels; r += channels) {
          const V g = Gate<V>(Load<V>(output + r), Load<V>(of_out + r), top);
          Store(to + r, g);
          s += g;
          p += g * (Load<V>(of_y + r) - m);
        }
      } else if (relu.on) {
        for (int64_t r = 0; r < count * channels; r += channels) {
          const V x = Load<V>(of_y + r);
          const V g = Gate<V>(x * a + b, Load<V>(of_out + r), top);
          s += g;
          p += g * (x - m);
        }
      } else {
        for (int64_t r = 0; r < count * channels; r += channels) {
          const V g = Load<V>(of_out + r);
          s += g;
          p += g * (Load<V>(of_y + r) - m);
        }
      }
      for (int lane = 0; lane < Lanes<V, T>(); ++lane) {
        sum[c + lane] += Lane(s, lane);
        product[c + lane] += Lane(p, lane);
      }
    });
  }
}

template <typename T>
void BackwardInput(const BatchNormLayout& layout, const T* gradient, const T* y, const T* scale, const T* shift,
                   const T* mean, const T* of_y, const T* constant, const Rectifier& relu, T* dy, T* dy_stored,
                   T* scratch) {
  const int64_t channels = layout.channels, size = BatchNormBlock(channels);
  for (int64_t begin = 0; begin < layout.rows; begin += size) {
    const int64_t count = layout.rows - begin < size ? layout.rows - begin : size;
    const T* full = FullWidth(layout, y + begin * layout.stored, count, scratch);
    const int64_t offset = begin * channels;
    T* const target = dy != nullptr ? dy + offset : scratch + size * channels;
    ForChannels<T>(channels, [&](auto zero, int64_t c) {
      using V = decltype(zero);
      const V a = Load<V>(scale + c), b = Load<V>(shift + c), m = Load<V>(mean + c);
      const V k = Load<V>(of_y + c), d = Load<V>(constant + c);
      const V top = Ceiling<V, T>(relu);
      const T* from = full + c;
      const T* of_out = gradient + offset + c;
      T* to = target + c;
      if (relu.on) {
        for (int64_t r = 0; r < count * channels; r += channels) {
          const V x = Load<V>(from + r);
          const V g = Gate<V>(x * a + b, Load<V>(of_out + r), top);
          Store<V>(to + r, a * g + (k * (x - m) + d));
        }
      } else {
        for (int64_t r = 0; r < count * channels; r += channels) {
          Store<V>(to + r, a * Load<V>(of_out + r) + (k * (Load<V>(from + r) - m) + d));
        }
      }
    });
    if (dy_stored != nullptr) Compress(layout, target, count, dy_stored + begin * layout.stored);
  }
}

}  // namespace

template <typename T>
BatchNormRows<T> Rows() {
  return {&Statistics<T>, &Forward<T>, &BackwardSums<T>, &BackwardInput<T>};
}
template BatchNormRows<float> Rows();
template BatchNormRows<double> Rows();

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
