#include <cuda_runtime.h>

#include <algorithm>

#include "ml/kernels/filter_importance_launch.h"

namespace prunelab {
namespace {

constexpr int kThreads = 256;
// Enough blocks for any device; rows beyond are taken by the loops within the kernels.
constexpr int64_t kMaxBlocks = 65535;

static_assert(kImportanceLanes == 32, "a filter's lanes are the threads of a warp");

// A warp for each filter.
template <FilterImportanceKind kind, typename T>
__global__ void FilterImportanceKernel(const T* weights, int64_t filters, int64_t size, T* importance) {
  constexpr int kWarps = kThreads / kImportanceLanes;
  const int lane = threadIdx.x % kImportanceLanes;
  for (int64_t f = blockIdx.x * int64_t{kWarps} + threadIdx.x / kImportanceLanes; f < filters;
       f += gridDim.x * int64_t{kWarps}) {
    double sum = ImportanceLaneSum<kind>(weights + f * size, size, lane);
    for (int half = kImportanceLanes / 2; half > 0; half /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, half);
    if (lane == 0) importance[f] = MeanImportance<T>(sum, size);
  }
}

template <typename T>
__global__ void ThresholdMaskKernel(const T* importance, int64_t count, const T* threshold, T* mask) {
  const T limit = *threshold;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count; i += gridDim.x * int64_t{kThreads}) {
    mask[i] = KeepMask(importance[i], limit);
  }
}

int Blocks(int64_t items, int64_t items_per_block) {
  return static_cast<int>(std::min(kMaxBlocks, (items + items_per_block - 1) / items_per_block));
}

const char* LaunchError() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace

template <typename T>
const char* LaunchFilterImportance(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind,
                                   T* importance, CUstream_st* stream) {
  if (filters == 0) return nullptr;
  const int blocks = Blocks(filters, kThreads / kImportanceLanes);
  if (kind == FilterImportanceKind::kL1) {
    FilterImportanceKernel<FilterImportanceKind::kL1>
        <<<blocks, kThreads, 0, stream>>>(weights, filters, size, importance);
  } else {
    FilterImportanceKernel<FilterImportanceKind::kL2>
        <<<blocks, kThreads, 0, stream>>>(weights, filters, size, importance);
  }
  return LaunchError();
}

template <typename T>
const char* LaunchThresholdMask(const T* importance, int64_t count, const T* threshold, T* mask, CUstream_st* stream) {
  if (count == 0) return nullptr;
  ThresholdMaskKernel<<<Blocks(count, kThreads), kThreads, 0, stream>>>(importance, count, threshold, mask);
  return LaunchError();
}

template const char* LaunchFilterImportance(const float*, int64_t, int64_t, FilterImportanceKind, float*, CUstream_st*);
template const char* LaunchFilterImportance(const double*, int64_t, int64_t, FilterImportanceKind, double*,
                                            CUstream_st*);
template const char* LaunchThresholdMask(const float*, int64_t, const float*, float*, CUstream_st*);
template const char* LaunchThresholdMask(const double*, int64_t, const double*, double*, CUstream_st*);

}  // namespace prunelab
