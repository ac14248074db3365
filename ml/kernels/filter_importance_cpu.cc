#include "ml/kernels/filter_importance_cpu.h"

#include <cmath>

namespace prunelab {
namespace {

template <FilterImportanceKind kind, typename T>
double LanesTotal(const T* row, int64_t size) {
  double lanes[kImportanceLanes] = {};
  int64_t i = 0;
  for (; i + kImportanceLanes <= size; i += kImportanceLanes) {
    for (int lane = 0; lane < kImportanceLanes; ++lane) {
      lanes[lane] += ImportanceTerm<kind>(static_cast<double>(row[i + lane]));
    }
  }
  for (int lane = 0; i < size; ++i, ++lane) lanes[lane] += ImportanceTerm<kind>(static_cast<double>(row[i]));
  // On a device every lane does every addition; here only those that lane 0 ends with.
  for (int half = kImportanceLanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; ++lane) lanes[lane] += lanes[lane + half];
  }
  return lanes[0];
}

template <FilterImportanceKind kind, typename T>
void ImportanceOfRows(const T* weights, int64_t filters, int64_t size, T* importance) {
  for (int64_t f = 0; f < filters; ++f) {
    importance[f] = MeanImportance<T>(LanesTotal<kind>(weights + f * size, size), size);
  }
}

}  // namespace

template <typename T>
void FilterImportanceCpu(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind, T* importance) {
  if (kind == FilterImportanceKind::kL1) {
    ImportanceOfRows<FilterImportanceKind::kL1>(weights, filters, size, importance);
  } else {
    ImportanceOfRows<FilterImportanceKind::kL2>(weights, filters, size, importance);
  }
}

template <typename T>
void ThresholdMaskCpu(const T* importance, int64_t count, const T* threshold, T* mask) {
  const T limit = *threshold;
  for (int64_t i = 0; i < count; ++i) mask[i] = KeepMask(importance[i], limit);
}

template <typename T>
void FilterImportanceReference(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind,
                               T* importance) {
  for (int64_t f = 0; f < filters; ++f) {
    double sum = 0;
    for (int64_t i = 0; i < size; ++i) {
      const double weight = weights[f * size + i];
      sum += kind == FilterImportanceKind::kL1 ? std::abs(weight) : weight * weight;
    }
    importance[f] = static_cast<T>(sum / static_cast<double>(size));
  }
}

template void FilterImportanceCpu(const float*, int64_t, int64_t, FilterImportanceKind, float*);
template void FilterImportanceCpu(const double*, int64_t, int64_t, FilterImportanceKind, double*);
template void ThresholdMaskCpu(const float*, int64_t, const float*, float*);
template void ThresholdMaskCpu(const double*, int64_t, const double*, double*);
template void FilterImportanceReference(const float*, int64_t, int64_t, FilterImportanceKind, float*);
template void FilterImportanceReference(const double*, int64_t, int64_t, FilterImportanceKind, double*);

}  // namespace prunelab
