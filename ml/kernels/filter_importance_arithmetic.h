// The arithmetic of filter importances, one source for the CPU and for CUDA.
//
// A filter's terms are summed in double by 32 lanes: lane l takes the weights l, l + 32, l + 64, ..., then the lanes
// fold, lane l adding lane l ^ 16, then l ^ 8, ..., l ^ 1. On a device the lanes are a warp's threads, on the host an
// array that the compiler can keep in vector registers. The order of the additions is the same, so both give the same
// bits.
#pragma once

#include <cstdint>

#include "ml/kernels/host_device.h"

namespace prunelab {

enum class FilterImportanceKind { kL1, kL2 };  // mean |w|; mean w^2 (the paper's structured L2)

inline constexpr int kImportanceLanes = 32;

// What one weight adds. The square is rounded before it is added, where a device would fuse the two.
template <FilterImportanceKind kind>
PRUNELAB_HOST_DEVICE inline double ImportanceTerm(double weight) {
  if (kind == FilterImportanceKind::kL1) return weight < 0 ? -weight : weight;
#ifdef __CUDA_ARCH__
  return __dmul_rn(weight, weight);
#else
  return weight * weight;
#endif
}

// The sum of one lane, for a row of `size` weights.
template <FilterImportanceKind kind, typename T>
PRUNELAB_HOST_DEVICE inline double ImportanceLaneSum(const T* row, int64_t size, int lane) {
  double sum = 0;
  for (int64_t i = lane; i < size; i += kImportanceLanes) sum += ImportanceTerm<kind>(static_cast<double>(row[i]));
  return sum;
}

// The importance from the lanes' total.
template <typename T>
PRUNELAB_HOST_DEVICE inline T MeanImportance(double total, int64_t size) {
  return static_cast<T>(total / static_cast<double>(size));
}

// 1 where a filter (or weight) stays: strictly above the threshold, so ties with it are masked and so is not-a-number.
template <typename T>
PRUNELAB_HOST_DEVICE inline T KeepMask(T importance, T threshold) {
  return importance > threshold ? T(1) : T(0);
}

}  // namespace prunelab
