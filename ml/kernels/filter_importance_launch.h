// Launchers of the CUDA kernels in filter_importance.cu: raw device pointers and a stream, no LibTorch, so that nvcc
// sees little. They return at once; nothing waits for the device.
#pragma once

#include <cstdint>

#include "ml/kernels/filter_importance_arithmetic.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace prunelab {

// As FilterImportanceCpu, for float and double, with the same bits. Returns nullptr, or why the launch failed.
template <typename T>
const char* LaunchFilterImportance(const T* weights, int64_t filters, int64_t size, FilterImportanceKind kind,
                                   T* importance, CUstream_st* stream);

// As ThresholdMaskCpu; the threshold stays in device memory.
template <typename T>
const char* LaunchThresholdMask(const T* importance, int64_t count, const T* threshold, T* mask, CUstream_st* stream);

}  // namespace prunelab
