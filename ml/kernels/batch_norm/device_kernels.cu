#include <cuda_runtime.h>

#include <algorithm>

#include "ml/kernels/batch_norm/device_kernels.h"

namespace prunelab {
namespace {

// Every thread of the block must reach this point, because the folding waits for all of them.
template <int kVector>
__device__ void FoldAndStore(const BatchNormGrid& grid, const BatchNormPlace& place, const ThreadSums<kVector>& sums,
                             double* partial) {
  __shared__ double first[kBatchNormThreads * kVector], second[kBatchNormThreads * kVector];
  ShareSums(threadIdx.x, sums, first, second);
  for (int width = grid.lanes; width > 1; width = HalfOf(width)) {
    __syncthreads();
    FoldLanes<kVector>(grid, place, width, first, second);
  }
  // The first lane's threads store what they wrote themselves.
  StoreBlockSums<kVector>(grid, place, blockIdx.x, first, second, partial);
}

__device__ BatchNormPlace OwnPlace(const BatchNormGrid& grid) {
  return PlaceOf(grid, blockIdx.x, blockIdx.y, threadIdx.x);
}

template <int kVector, typename T>
__global__ void __launch_bounds__(kBatchNormThreads) StatisticsKernel(BatchNormGrid grid, const T* y, double* partial) {
  const BatchNormPlace place = OwnPlace(grid);
  FoldAndStore(grid, place, StatisticsOfThread<kVector>(grid, place, y), partial);
}

template <bool kRelu, int kVector, typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    ForwardKernel(BatchNormGrid grid, const T* y, const T* scale, const T* shift, const T* addend, T* out) {
  ForwardOfThread<kRelu, kVector>(grid, OwnPlace(grid), y, scale, shift, addend, out);
}

template <BatchNormGate kGate, int kVector, typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    BackwardSumsKernel(BatchNormGrid grid, const T* gradient, const T* y, const T* out, const T* scale, const T* shift,
                       const T* mean, T* gated, double* partial) {
  const BatchNormPlace place = OwnPlace(grid);
  FoldAndStore(grid, place,
               BackwardSumsOfThread<kGate, kVector>(grid, place, gradient, y, out, scale, shift, mean, gated), partial);
}

template <BatchNormGate kGate, int kVector, typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    InputGradientKernel(BatchNormGrid grid, const T* gradient, const T* y, const T* scale, const T* shift,
                        const T* mean, const T* of_y, const T* constant, T* dy) {
  InputGradientOfThread<kGate, kVector>(grid, OwnPlace(grid), gradient, y, scale, shift, mean, of_y, constant, dy);
}

// A warp for each channel; its first lane ends with the sums, added in the order that device_threads.h fixes.
__device__ ChannelSums FoldWarp(ChannelSums sums) {
  for (int other = kBatchNormWarp / 2; other > 0; other /= 2) {
    sums.first += __shfl_xor_sync(0xffffffffu, sums.first, other);
    sums.second += __shfl_xor_sync(0xffffffffu, sums.second, other);
  }
  return sums;
}

__device__ int64_t ChannelOfWarp() { return (blockIdx.x * int64_t{kBatchNormThreads} + threadIdx.x) / kBatchNormWarp; }

template <typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    FinishStatisticsKernel(BatchNormGrid grid, const T* y, BatchNormParameters<T> parameters, const double* partial,
                           BatchNormSaved<T> saved) {
  const int64_t channel = ChannelOfWarp();
  if (channel >= grid.channels) return;  // whole warps
  const int lane = threadIdx.x % kBatchNormWarp;
  const ChannelSums sums = FoldWarp(SumsOfWarpLane(grid, partial, channel, lane));
  if (lane == 0) FinishStatistics(grid, y, parameters, sums, channel, saved);
}

template <typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    FinishBackwardKernel(BatchNormGrid grid, BatchNormSaved<T> saved, const double* partial,
                         BatchNormChannelGradients<T> to) {
  const int64_t channel = ChannelOfWarp();
  if (channel >= grid.channels) return;  // whole warps
  const int lane = threadIdx.x % kBatchNormWarp;
  const ChannelSums sums = FoldWarp(SumsOfWarpLane(grid, partial, channel, lane));
  if (lane == 0) FinishBackward<T>(grid, saved.scale, saved.inverse, sums, channel, to);
}

template <typename T>
__global__ void __launch_bounds__(kBatchNormThreads)
    AffineKernel(int64_t channels, BatchNormParameters<T> parameters, T* scale, T* shift) {
  const int64_t channel = blockIdx.x * int64_t{kBatchNormThreads} + threadIdx.x;
  if (channel < channels) AffineByRunningStatistics(parameters, channel, scale, shift);
}

dim3 BlocksOf(const BatchNormGrid& grid) {
  return dim3(static_cast<unsigned>(grid.chunks), static_cast<unsigned>(grid.tiles));
}

unsigned BlocksFor(int64_t threads) {
  return static_cast<unsigned>((threads + kBatchNormThreads - 1) / kBatchNormThreads);
}

// Before a launch: an error that another library left behind would be taken for this launch's. One that the device
// cannot recover from is reported by every later call, so it is not lost.
void ForgetEarlierErrors() { (void)cudaGetLastError(); }

const char* LaunchError() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

template <int kVector, typename T>
void Forward(const BatchNormGrid& grid, const T* y, const T* scale, const T* shift, const T* addend, bool relu, T* out,
             CUstream_st* stream) {
  if (relu) {
    ForwardKernel<true, kVector><<<BlocksOf(grid), kBatchNormThreads, 0, stream>>>(grid, y, scale, shift, addend, out);
  } else {
    ForwardKernel<false, kVector><<<BlocksOf(grid), kBatchNormThreads, 0, stream>>>(grid, y, scale, shift, addend, out);
  }
}

template <int kVector, typename T>
const char* Training(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters, const T* addend,
                     bool relu, double* partial, const BatchNormSaved<T>& saved, T* out, CUstream_st* stream) {
  ForgetEarlierErrors();
  StatisticsKernel<kVector><<<BlocksOf(grid), kBatchNormThreads, 0, stream>>>(grid, y, partial);
  FinishStatisticsKernel<<<BlocksFor(grid.channels * kBatchNormWarp), kBatchNormThreads, 0, stream>>>(
      grid, y, parameters, partial, saved);
  Forward<kVector, T>(grid, y, saved.scale, saved.shift, addend, relu, out, stream);
  return LaunchError();
}

template <BatchNormGate kGate, int kVector, typename T>
const char* Backward(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out,
                     const BatchNormSaved<T>& saved, double* partial, T* gated,
                     const BatchNormChannelGradients<T>& of_channels, T* dy, CUstream_st* stream) {
  ForgetEarlierErrors();
  BackwardSumsKernel<kGate, kVector, T><<<BlocksOf(grid), kBatchNormThreads, 0, stream>>>(
      grid, gradient, y, out, saved.scale, saved.shift, saved.mean, gated, partial);
  FinishBackwardKernel<<<BlocksFor(grid.channels * kBatchNormWarp), kBatchNormThreads, 0, stream>>>(
      grid, saved, partial, of_channels);
  constexpr BatchNormGate kLeft = kGate == BatchNormGate::kOutput ? BatchNormGate::kNone : kGate;
  InputGradientKernel<kLeft, kVector, T><<<BlocksOf(grid), kBatchNormThreads, 0, stream>>>(
      grid, kGate == BatchNormGate::kOutput ? gated : gradient, y, saved.scale, saved.shift, saved.mean,
      of_channels.of_y, of_channels.constant, dy);
  return LaunchError();
}

template <int kVector, typename T>
const char* BackwardByGate(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out,
                           const BatchNormSaved<T>& saved, bool relu, double* partial, T* gated,
                           const BatchNormChannelGradients<T>& of_channels, T* dy, CUstream_st* stream) {
  if (out != nullptr) {
    return Backward<BatchNormGate::kOutput, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels, dy,
                                                     stream);
  }
  if (relu) {
    return Backward<BatchNormGate::kComputed, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels, dy,
                                                       stream);
  }
  return Backward<BatchNormGate::kNone, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels, dy,
                                                 stream);
}

}  // namespace

template <typename T>
const char* LaunchBatchNormTraining(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                                    const T* addend, bool relu, double* partial, const BatchNormSaved<T>& saved, T* out,
                                    CUstream_st* stream) {
  if (grid.vector == 1) return Training<1>(grid, y, parameters, addend, relu, partial, saved, out, stream);
  return Training<kBatchNormVector<T>>(grid, y, parameters, addend, relu, partial, saved, out, stream);
}

template <typename T>
const char* LaunchBatchNormEvaluation(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                                      const T* addend, bool relu, T* scale, T* shift, T* out, CUstream_st* stream) {
  ForgetEarlierErrors();
  AffineKernel<<<BlocksFor(grid.channels), kBatchNormThreads, 0, stream>>>(grid.channels, parameters, scale, shift);
  if (grid.vector == 1) {
    Forward<1, T>(grid, y, scale, shift, addend, relu, out, stream);
  } else {
    Forward<kBatchNormVector<T>, T>(grid, y, scale, shift, addend, relu, out, stream);
  }
  return LaunchError();
}

template <typename T>
const char* LaunchBatchNormBackward(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out,
                                    const BatchNormSaved<T>& saved, bool relu, double* partial, T* gated,
                                    const BatchNormChannelGradients<T>& of_channels, T* dy, CUstream_st* stream) {
  if (grid.vector == 1) {
    return BackwardByGate<1>(grid, gradient, y, out, saved, relu, partial, gated, of_channels, dy, stream);
  }
  return BackwardByGate<kBatchNormVector<T>>(grid, gradient, y, out, saved, relu, partial, gated, of_channels, dy,
                                             stream);
}

#define PRUNELAB_INSTANTIATE(T)                                                                                      \
  template const char* LaunchBatchNormTraining(const BatchNormGrid&, const T*, const BatchNormParameters<T>&,        \
                                               const T*, bool, double*, const BatchNormSaved<T>&, T*, CUstream_st*); \
  template const char* LaunchBatchNormEvaluation(const BatchNormGrid&, const T*, const BatchNormParameters<T>&,      \
                                                 const T*, bool, T*, T*, T*, CUstream_st*);                          \
  template const char* LaunchBatchNormBackward(const BatchNormGrid&, const T*, const T*, const T*,                   \
                                               const BatchNormSaved<T>&, bool, double*, T*,                          \
                                               const BatchNormChannelGradients<T>&, T*, CUstream_st*)
PRUNELAB_INSTANTIATE(float);
PRUNELAB_INSTANTIATE(double);
#undef PRUNELAB_INSTANTIATE

}  // namespace prunelab
