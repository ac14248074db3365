// Sums, maxima and functions of places, the 8-bit whole numbers of ml/quantization/integer_operators.h, on CPUs and one
// thread. Equal to the definitions there bit for bit.
#pragma once

#include <cstdint>

namespace prunelab {

// y[i] = clamp(zero_point + (sum over k of (x[k][i] - zero_points[k]) multipliers[k] + 2^(shift - 1)) >> shift, first,
// last), in 32 bits, which the sum must not leave.
struct PlacesSum {
  int64_t inputs = 0;  // 1 to kMostInputs
  static constexpr int64_t kMostInputs = 8;
  int32_t zero_points[kMostInputs] = {}, multipliers[kMostInputs] = {};
  int32_t shift = 1;
  int32_t zero_point = 0, first = 0, last = 255;
};
void AddPlaces(const PlacesSum& sum, int64_t count, const uint8_t* const* x, uint8_t* y);

// y[i] becomes max(y[i], x[i]).
void TakeLargerPlaces(int64_t count, const uint8_t* x, uint8_t* y);

// y[i] = table[x[i]]; the table has 256 entries. y may be x.
void LookUpPlaces(int64_t count, const uint8_t* table, const uint8_t* x, uint8_t* y);

// y[p][c] of [pixels][stride] is clamp(zero_point + ((x[p][c] - zero_points[0]) (gate[c] - zero_points[1]) multiplier +
// 2^(shift - 1)) >> shift, first, last) for all c below `channels`: a product with a gate.
struct PlacesProduct {
  int32_t zero_points[2] = {0, 0};
  int64_t multiplier = 0, shift = 1;
  int32_t zero_point = 0, first = 0, last = 255;
};
void GatePlaces(const PlacesProduct& product, int64_t pixels, int64_t channels, int64_t stride, const uint8_t* x,
                const uint8_t* gate, uint8_t* y);

}  // namespace prunelab
