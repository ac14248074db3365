// The launcher of the CUDA kernels in kernels.cu: raw device pointers and a stream, no LibTorch, so that nvcc has
// little to compile. It returns at once without synchronizing, and may be captured into a CUDA graph.
#pragma once

#include "ml/kernels/device_conv3x3/threads.h"

struct CUstream_st;  // cudaStream_t is a pointer to it

namespace prunelab {

// dweight [out, 3, 3, in] of a convolution with stride 1 and padding 1, from its input x [images, height, width, in]
// and its output's gradient dy [images, height, width, out], all of them aligned to 16 bytes. `partial`:
// grid.partial_size() floats of scratch. Returns nullptr, or why a launch failed.
const char* LaunchWeightGradient(const WeightGradientGrid& grid, const float* x, const float* dy, float* partial,
                                 float* dweight, CUstream_st* stream);

}  // namespace prunelab
