// The CUDA kernels of device_kernels.cu on the host, block by block and thread by thread, with the same bits. Slow, for
// tests: without a GPU they check what the kernels compute, and with one they check the kernels themselves.
//
//   BatchNormTrainingOnHost<float>(grid, y, parameters, addend, relu, partial, saved, out);
#pragma once

#include <cstdint>
#include <type_traits>
#include <vector>

#include "ml/kernels/batch_norm/device_threads.h"

namespace prunelab {
namespace on_host {

// work(place, thread, chunk) for all threads of all blocks.
template <typename Work>
void ForThreads(const BatchNormGrid& grid, const Work& work) {
  for (int64_t tile = 0; tile < grid.tiles; ++tile) {
    for (int64_t chunk = 0; chunk < grid.chunks; ++chunk) {
      for (int thread = 0; thread < kBatchNormThreads; ++thread) work(PlaceOf(grid, chunk, tile, thread));
    }
  }
}

// sums_of(place) for all threads of each block, folded into `partial` as the device does.
template <int kVector, typename SumsOf>
void SumBlocks(const BatchNormGrid& grid, double* partial, const SumsOf& sums_of) {
  std::vector<double> first(kBatchNormThreads * kVector), second(kBatchNormThreads * kVector);
  for (int64_t tile = 0; tile < grid.tiles; ++tile) {
    for (int64_t chunk = 0; chunk < grid.chunks; ++chunk) {
      const auto for_threads = [&](const auto& work) {
        for (int thread = 0; thread < kBatchNormThreads; ++thread) work(thread, PlaceOf(grid, chunk, tile, thread));
      };
      for_threads([&](int thread, const BatchNormPlace& place) {
        ShareSums<kVector>(thread, sums_of(place), first.data(), second.data());
      });
      for (int width = grid.lanes; width > 1; width = HalfOf(width)) {
        for_threads([&](int, const BatchNormPlace& place) {
          FoldLanes<kVector>(grid, place, width, first.data(), second.data());
        });
      }
      for_threads([&](int, const BatchNormPlace& place) {
        StoreBlockSums<kVector>(grid, place, chunk, first.data(), second.data(), partial);
      });
    }
  }
}

inline ChannelSums SumOverBlocks(const BatchNormGrid& grid, const double* partial, int64_t channel) {
  ChannelSums lanes[kBatchNormWarp];
  for (int lane = 0; lane < kBatchNormWarp; ++lane) lanes[lane] = SumsOfWarpLane(grid, partial, channel, lane);
  for (int other = kBatchNormWarp / 2; other > 0; other /= 2) {
    for (int lane = 0; lane < other; ++lane) {
      lanes[lane].first += lanes[lane + other].first;
      lanes[lane].second += lanes[lane + other].second;
    }
  }
  return lanes[0];
}

template <int kVector, typename T>
void Forward(const BatchNormGrid& grid, const T* y, const T* scale, const T* shift, const T* addend, bool relu,
             T* out) {
  ForThreads(grid, [&](const BatchNormPlace& place) {
    if (relu) {
      ForwardOfThread<true, kVector>(grid, place, y, scale, shift, addend, out);
    } else {
      ForwardOfThread<false, kVector>(grid, place, y, scale, shift, addend, out);
    }
  });
}

template <int kVector, typename T>
void Training(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters, const T* addend,
              bool relu, double* partial, const BatchNormSaved<T>& saved, T* out) {
  SumBlocks<kVector>(grid, partial,
                     [&](const BatchNormPlace& place) { return StatisticsOfThread<kVector>(grid, place, y); });
  for (int64_t c = 0; c < grid.channels; ++c) {
    FinishStatistics(grid, y, parameters, SumOverBlocks(grid, partial, c), c, saved);
  }
  Forward<kVector, T>(grid, y, saved.scale, saved.shift, addend, relu, out);
}

template <BatchNormGate kGate, int kVector, typename T>
void Backward(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out, const BatchNormSaved<T>& saved,
              double* partial, T* gated, const BatchNormChannelGradients<T>& of_channels, T* dy) {
  SumBlocks<kVector>(grid, partial, [&](const BatchNormPlace& place) {
    return BackwardSumsOfThread<kGate, kVector, T>(grid, place, gradient, y, out, saved.scale, saved.shift, saved.mean,
                                                   gated);
  });
  for (int64_t c = 0; c < grid.channels; ++c) {
    FinishBackward<T>(grid, saved.scale, saved.inverse, SumOverBlocks(grid, partial, c), c, of_channels);
  }
  constexpr BatchNormGate kLeft = kGate == BatchNormGate::kOutput ? BatchNormGate::kNone : kGate;
  ForThreads(grid, [&](const BatchNormPlace& place) {
    InputGradientOfThread<kLeft, kVector, T>(grid, place, kGate == BatchNormGate::kOutput ? gated : gradient, y,
                                             saved.scale, saved.shift, saved.mean, of_channels.of_y,
                                             of_channels.constant, dy);
  });
}

}  // namespace on_host

// As the launchers in device_kernels.h.
template <typename T>
void BatchNormTrainingOnHost(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                             const T* addend, bool relu, double* partial, const BatchNormSaved<T>& saved, T* out) {
  if (grid.vector == 1) {
    on_host::Training<1>(grid, y, parameters, addend, relu, partial, saved, out);
  } else {
    on_host::Training<16 / sizeof(T)>(grid, y, parameters, addend, relu, partial, saved, out);
  }
}

template <typename T>
void BatchNormEvaluationOnHost(const BatchNormGrid& grid, const T* y, const BatchNormParameters<T>& parameters,
                               const T* addend, bool relu, T* scale, T* shift, T* out) {
  for (int64_t c = 0; c < grid.channels; ++c) AffineByRunningStatistics(parameters, c, scale, shift);
  if (grid.vector == 1) {
    on_host::Forward<1, T>(grid, y, scale, shift, addend, relu, out);
  } else {
    on_host::Forward<16 / sizeof(T), T>(grid, y, scale, shift, addend, relu, out);
  }
}

template <typename T>
void BatchNormBackwardOnHost(const BatchNormGrid& grid, const T* gradient, const T* y, const T* out,
                             const BatchNormSaved<T>& saved, bool relu, double* partial, T* gated,
                             const BatchNormChannelGradients<T>& of_channels, T* dy) {
  const auto run = [&](auto vector) {
    constexpr int kVector = decltype(vector)::value;
    if (out != nullptr) {
      on_host::Backward<BatchNormGate::kOutput, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels,
                                                         dy);
    } else if (relu) {
      on_host::Backward<BatchNormGate::kComputed, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels,
                                                           dy);
    } else {
      on_host::Backward<BatchNormGate::kNone, kVector>(grid, gradient, y, out, saved, partial, gated, of_channels, dy);
    }
  };
  if (grid.vector == 1) {
    run(std::integral_constant<int, 1>());
  } else {
    run(std::integral_constant<int, 16 / sizeof(T)>());
  }
}

}  // namespace prunelab
