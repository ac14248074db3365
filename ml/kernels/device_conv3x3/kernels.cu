#include <cuda_runtime.h>

#include "ml/kernels/device_conv3x3/kernels.h"

namespace prunelab {
namespace {

// Every thread of the block must reach each __syncthreads(), so threads without work share zeros.
__global__ void __launch_bounds__(kWeightGradientThreads, 1)
    WeightGradientKernel(WeightGradientGrid grid, const float* x, const float* dy, float* partial) {
  __shared__ FourChannels shared[kGroup * kWeightGradientThreads];
  const int split = blockIdx.x, tile = blockIdx.y;
  WeightGradientSums sums = {};
  WeightGradientOfThread(grid, WeightGradientPlaceOf(grid, split, tile, threadIdx.x), x, dy, sums);
#pragma unroll
  for (int column = 0; column < kKernel; ++column) {
    ShareColumn(threadIdx.x, sums.at[column], shared);
    __syncthreads();
    StoreColumn(grid, split, tile, threadIdx.x, column, shared, partial);
    __syncthreads();
  }
}

constexpr int kWeightsOfBlock = 32;

__global__ void __launch_bounds__(kWeightsOfBlock* kSplitThreads)
    AddSplitsKernel(WeightGradientGrid grid, const float* partial, float* dweight) {
  __shared__ float shared[kSplitThreads][kWeightsOfBlock];
  const int weight = blockIdx.x * kWeightsOfBlock + threadIdx.x;
  const bool active = weight < grid.weights();
  shared[threadIdx.y][threadIdx.x] = active ? SumOfSplits(grid, partial, weight, threadIdx.y) : 0;
  __syncthreads();
  if (threadIdx.y > 0 || !active) return;
  float sum = 0;
  for (int part = 0; part < kSplitThreads; ++part) sum += shared[part][threadIdx.x];
  dweight[weight] = sum;
}

}  // namespace

const char* LaunchWeightGradient(const WeightGradientGrid& grid, const float* x, const float* dy, float* partial,
                                 float* dweight, CUstream_st* stream) {
  (void)cudaGetLastError();  // what another library left behind is not this launch's error
  const dim3 blocks(static_cast<unsigned>(grid.splits), static_cast<unsigned>(grid.in_tiles * grid.out_tiles));
  WeightGradientKernel<<<blocks, kWeightGradientThreads, 0, stream>>>(grid, x, dy, partial);
  const unsigned of_weights = static_cast<unsigned>((grid.weights() + kWeightsOfBlock - 1) / kWeightsOfBlock);
  AddSplitsKernel<<<of_weights, dim3(kWeightsOfBlock, kSplitThreads), 0, stream>>>(grid, partial, dweight);
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace prunelab
