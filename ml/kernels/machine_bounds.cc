#include "ml/kernels/machine_bounds.h"

// PRUNELAB_INSTRUCTION_SET is avx2 or avx512, according to the flags of this compilation.
namespace prunelab {
namespace PRUNELAB_INSTRUCTION_SET {
namespace {

#ifdef __AVX512F__
constexpr int kLanes = 16;
#else
constexpr int kLanes = 8;
#endif
typedef float Vector __attribute__((vector_size(kLanes * sizeof(float))));

// Independent sums: more than the number of multiply-adds that a core has in flight.
constexpr int kSums = 12;

float MultiplyAdd(int64_t rounds) {
  Vector factor = Vector{} + 0.5f, summand = Vector{} + 1.0f, sums[kSums] = {};
  // The compiler must not know that they are equal, or their values.
  asm volatile("" : "+x"(factor), "+x"(summand));
#pragma GCC unroll 12
  for (int k = 0; k < kSums; ++k) asm volatile("" : "+x"(sums[k]));
  for (int64_t round = 0; round < rounds; ++round) {
#pragma GCC unroll 12
    for (int k = 0; k < kSums; ++k) sums[k] = sums[k] * factor + summand;
  }
  Vector all = {};
  for (int k = 0; k < kSums; ++k) all += sums[k];
  return all[0];
}

float Read(const float* a, int64_t size) {
  Vector sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums * kLanes <= size; i += kSums * kLanes) {
#pragma GCC unroll 12
    for (int k = 0; k < kSums; ++k) {
      Vector value;
      __builtin_memcpy(&value, a + i + k * kLanes, sizeof value);
      sums[k] += value;
    }
  }
  float all = 0;
  for (int k = 0; k < kSums; ++k) all += sums[k][0];
  return all;
}

void Copy(const float* a, float* b, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    Vector value;
    __builtin_memcpy(&value, a + i, sizeof value);
    __builtin_memcpy(b + i, &value, sizeof value);
  }
}

void Triad(const float* a, const float* b, float* c, int64_t size) {
  for (int64_t i = 0; i < size; i += kLanes) {
    Vector x, y;
    __builtin_memcpy(&x, a + i, sizeof x);
    __builtin_memcpy(&y, b + i, sizeof y);
    const Vector z = x + 3.0f * y;
    __builtin_memcpy(c + i, &z, sizeof z);
  }
}

}  // namespace

MachineBounds Bounds() { return {&MultiplyAdd, 2 * kSums * kLanes, &Read, &Copy, &Triad}; }

}  // namespace PRUNELAB_INSTRUCTION_SET
}  // namespace prunelab
