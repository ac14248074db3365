#include "ml/kernels/integer_elementwise/loops.h"

namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

template <typename Number>
inline __attribute__((always_inline)) uint8_t Clamped(Number value, int32_t first, int32_t last) {
  return static_cast<uint8_t>(value < first ? first : value > last ? last : value);
}

// Of two inputs, the commonest number; each row of loads and stores is one vector.
void AddTwo(const PlacesSum& sum, int64_t count, const uint8_t* __restrict a, const uint8_t* __restrict b,
            uint8_t* __restrict y) {
  const int32_t ma = sum.multipliers[0], mb = sum.multipliers[1], shift = sum.shift;
  const int32_t offset = (1 << (shift - 1)) - sum.zero_points[0] * ma - sum.zero_points[1] * mb;
  const int32_t zero_point = sum.zero_point, first = sum.first, last = sum.last;
  for (int64_t i = 0; i < count; ++i) {
    y[i] = Clamped(((a[i] * ma + b[i] * mb + offset) >> shift) + zero_point, first, last);
  }
}

void Add(const PlacesSum& sum, int64_t count, const uint8_t* const* x, uint8_t* y) {
  if (sum.inputs == 2) {
    AddTwo(sum, count, x[0], x[1], y);
    return;
  }
  int32_t offset = 1 << (sum.shift - 1);
  for (int64_t k = 0; k < sum.inputs; ++k) offset -= sum.zero_points[k] * sum.multipliers[k];
  constexpr int64_t kPiece = 64;
  for (int64_t begin = 0; begin < count; begin += kPiece) {
    const int64_t size = count - begin < kPiece ? count - begin : kPiece;
    int32_t totals[kPiece];
    for (int64_t i = 0; i < size; ++i) totals[i] = offset;
    for (int64_t k = 0; k < sum.inputs; ++k) {
      for (int64_t i = 0; i < size; ++i) totals[i] += x[k][begin + i] * sum.multipliers[k];
    }
    for (int64_t i = 0; i < size; ++i) {
      y[begin + i] = Clamped((totals[i] >> sum.shift) + sum.zero_point, sum.first, sum.last);
    }
  }
}

void TakeLarger(int64_t count, const uint8_t* __restrict x, uint8_t* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] > y[i] ? x[i] : y[i];
}

void Gate(const PlacesProduct& product, int64_t pixels, int64_t channels, int64_t stride, const uint8_t* __restrict x,
          const uint8_t* __restrict gate, uint8_t* __restrict y) {
  const int64_t half = int64_t{1} << (product.shift - 1), multiplier = product.multiplier, shift = product.shift;
  const int32_t zero_x = product.zero_points[0], zero_gate = product.zero_points[1];
  for (int64_t p = 0; p < pixels; ++p) {
    for (int64_t c = 0; c < channels; ++c) {
      const int64_t value = (x[p * stride + c] - zero_x) * (gate[c] - zero_gate);
      y[p * stride + c] =
          Clamped(((value * multiplier + half) >> shift) + product.zero_point, product.first, product.last);
    }
  }
}

}  // namespace

PlacesLoops FindPlacesLoops() { return {&Add, &TakeLarger, &Gate}; }

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
