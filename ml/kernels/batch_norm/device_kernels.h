// Launchers of the CUDA kernels in device_kernels.cu: raw device pointers and a stream, no LibTorch, so that nvcc has
// little to compile. They return at once without synchronizing, and all may be captured into a CUDA graph. Each returns
// nullptr, or why a launch failed.
//
// `grid.vector` is 1 or kBatchNormVector<T>, for which all pointers to [rows, channels] must be aligned to 16 bytes.
#pragma once

#include <cstdint>

#include "ml/kernels/batch_norm/device_threads.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace prunelab {

// Elements in 16 bytes, the most that a thread reads at once.
template <typename T>
inline constexpr int kBatchNormVector = 16 / sizeof(T);

// A training step's forward pass: statistics of y [rows, channels], then out = BN(y) (+ addend) (ReLU). The running
// statistics are moved on and what the backward pass needs is left in `saved`. `partial`: grid.partial_size() doubles
// of scratch.
template <typename T>
const char* LaunchBatchNormTraining(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                                    const T* addend, bool relu, double* partial, const BatchNormSaved<T>& saved, T* out,
                                    CUstream_st* stream);

// By the running statistics. `scale`, `shift`: scratch, [channels].
template <typename T>
const char* LaunchBatchNormEvaluation(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                                      const T* addend, bool relu, T* scale, T* shift, T* out, CUstream_st* stream);

// `gradient`: [rows, channels], of the forward pass's output. With a ReLU and an addend, `out` is that output and
// `gated` receives the addend's gradient; otherwise both are null. Written: dy [rows, channels] and `of_channels`.
template <typename T>
const char* LaunchBatchNormBackward(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out,
                                    const BatchNormSaved<T>& saved, bool relu, double* partial, T* gated,
                                    const BatchNormChannelGradients<T>& of_channels, T* dy, CUstream_st* stream);

}  // namespace prunelab
