// The CUDA kernels of kernels.cu on the host, block by block and thread by thread, with the same bits. Slow, for tests:
// without a GPU they check what the kernels compute, and with one they check the kernels themselves.
//
//   WeightGradientOnHost(grid, x, dy, partial, dweight);  // as LaunchWeightGradient in kernels.h
#pragma once

#include <vector>

#include "ml/kernels/device_conv3x3/threads.h"

namespace prunelab {

inline void WeightGradientOfBlock(const WeightGradientGrid& grid, int split, int tile, const float* x, const float* dy,
                                  float* partial) {
  std::vector<WeightGradientSums> sums(kWeightGradientThreads, WeightGradientSums());
  for (int thread = 0; thread < kWeightGradientThreads; ++thread) {
    WeightGradientOfThread(grid, WeightGradientPlaceOf(grid, split, tile, thread), x, dy, sums[thread]);
  }
  std::vector<FourChannels> shared(kGroup * kWeightGradientThreads);
  for (int column = 0; column < kKernel; ++column) {
    for (int thread = 0; thread < kWeightGradientThreads; ++thread) {
      ShareColumn(thread, sums[thread].at[column], shared.data());
    }
    for (int thread = 0; thread < kWeightGradientThreads; ++thread) {
      StoreColumn(grid, split, tile, thread, column, shared.data(), partial);
    }
  }
}

inline void WeightGradientOnHost(const WeightGradientGrid& grid, const float* x, const float* dy, float* partial,
                                 float* dweight) {
  for (int tile = 0; tile < grid.in_tiles * grid.out_tiles; ++tile) {
    for (int split = 0; split < grid.splits; ++split) WeightGradientOfBlock(grid, split, tile, x, dy, partial);
  }
  for (int weight = 0; weight < grid.weights(); ++weight) {
    float sum = 0;
    for (int part = 0; part < kSplitThreads; ++part) sum += SumOfSplits(grid, partial, weight, part);
    dweight[weight] = sum;
  }
}

}  // namespace prunelab
