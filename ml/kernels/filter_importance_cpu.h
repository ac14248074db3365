// Filter importances and threshold masks on the CPU: on raw memory, for float and double.
#pragma once

#include <cstdint>

#include "ml/kernels/filter_importance_arithmetic.h"

namespace prunelab {

// importance[f] of the rows [filters, size] at `weights`, one filter after the other. In the order of additions that
// filter_importance_arithmetic.h fixes, vectorised. `size` > 0.
template <typename T>
void FilterImportanceCpu(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind, T* importance);

// mask[i] = importance[i] > *threshold.
template <typename T>
void ThresholdMaskCpu(const T* importance, int64_t count, const T* threshold, T* mask);

// What both must equal up to the rounding of sums: the plain loop, in the order of memory.
template <typename T>
void FilterImportanceReference(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind,
                               T* importance);

}  // namespace prunelab
