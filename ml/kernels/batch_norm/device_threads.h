// What each thread of the CUDA kernels in device_kernels.cu does, as plain functions of the block and the thread. The
// host can call them for all threads of all blocks in turn (device_on_host.h), so that tests on the host cover the
// device's indices and the order of its sums, too.
//
// Memory is channels_last: rows (a pixel of an image each) of channels. A block takes `chunk` rows of `columns *
// vector` channels. Its threads are laid out over channels first, then over rows ("lanes"), so that neighbouring
// threads read neighbouring memory; each takes `vector` channels of every `lanes`-th row. Sums over rows are taken in
// three stages, each in a fixed order: a thread's rows (at most kMaxRowsOfThread of them, in T), a block's lanes, and
// all blocks, in double. All of this depends on the shape alone, and nothing is added atomically, so a step repeats bit
// for bit.
#pragma once

#include <cstdint>

#include "ml/kernels/batch_norm/arithmetic.h"
#include "ml/kernels/device_elements.h"

namespace prunelab {

inline constexpr int kBatchNormThreads = 256;  // of a block
inline constexpr int kBatchNormWarp = 32;      // threads that sum over the blocks' sums, for each channel
inline constexpr int kMinRowsOfThread = 4, kMaxRowsOfThread = 64;
inline constexpr int kWantedChunks = 512;

struct BatchNormGrid {
  int64_t rows = 0, channels = 0;
  int vector = 1;                 // channels that a thread reads at once; divides `channels`
  int columns = 1, lanes = 1;     // of a block's threads; columns * lanes <= kBatchNormThreads
  int64_t tiles = 1;              // blocks next to each other over channels
  int64_t chunk = 1, chunks = 1;  // rows of a block; blocks one after the other over rows
  int64_t partial_size() const { return 2 * channels * chunks; }  // doubles: the sums of all blocks
};

// `rows`, `channels` at least 1.
inline BatchNormGrid MakeBatchNormGrid(int64_t rows, int64_t channels, int vector) {
  BatchNormGrid grid;
  grid.rows = rows;
  grid.channels = channels;
  grid.vector = vector;
  const int64_t groups = channels / vector;
  grid.columns = static_cast<int>(groups < kBatchNormThreads ? groups : kBatchNormThreads);
  grid.lanes = kBatchNormThreads / grid.columns;
  grid.tiles = (groups + grid.columns - 1) / grid.columns;
  int64_t rows_of_thread = (rows + int64_t{grid.lanes} * kWantedChunks - 1) / (int64_t{grid.lanes} * kWantedChunks);
  if (rows_of_thread < kMinRowsOfThread) rows_of_thread = kMinRowsOfThread;
  if (rows_of_thread > kMaxRowsOfThread) rows_of_thread = kMaxRowsOfThread;
  grid.chunk = grid.lanes * rows_of_thread;
  grid.chunks = (rows + grid.chunk - 1) / grid.chunk;
  return grid;
}

// Where a thread stands.
struct BatchNormPlace {
  bool active = false;  // whether there is anything for it to do
  int column = 0, lane = 0;
  int64_t channel = 0;         // the first of its `vector`
  int64_t begin = 0, end = 0;  // rows, in steps of `lanes`
};

PRUNELAB_HOST_DEVICE inline BatchNormPlace PlaceOf(const BatchNormGrid& grid, int64_t chunk, int64_t tile, int thread) {
  BatchNormPlace place;
  place.column = thread % grid.columns;
  place.lane = thread / grid.columns;
  place.channel = (tile * grid.columns + place.column) * grid.vector;
  place.begin = chunk * grid.chunk + place.lane;
  const int64_t end = (chunk + 1) * grid.chunk;
  place.end = end < grid.rows ? end : grid.rows;
  place.active = place.lane < grid.lanes && place.channel < grid.channels;
  return place;
}

// Sums of a thread's channels.
template <int kVector>
struct ThreadSums {
  double first[kVector], second[kVector];
};

// The differences to the first row, and their squares: no digits are lost where the mean is far from 0.
template <int kVector, typename T>
PRUNELAB_HOST_DEVICE inline ThreadSums<kVector> StatisticsOfThread(const BatchNormGrid& grid,
                                                                   const BatchNormPlace& place, const T* y) {
  T sum[kVector] = {}, square[kVector] = {};
  if (place.active) {
    const Pack<T, kVector> pivot = LoadPack<kVector>(y + place.channel);
    for (int64_t row = place.begin; row < place.end; row += grid.lanes) {
      const Pack<T, kVector> value = LoadPack<kVector>(y + row * grid.channels + place.channel);
      for (int v = 0; v < kVector; ++v) {
        const T difference = value.at[v] - pivot.at[v];
        sum[v] += difference;
        square[v] = MultiplyAdd(difference, difference, square[v]);
      }
    }
  }
  ThreadSums<kVector> sums;
  for (int v = 0; v < kVector; ++v) {
    sums.first[v] = sum[v];
    sums.second[v] = square[v];
  }
  return sums;
}

template <bool kRelu, int kVector, typename T>
PRUNELAB_HOST_DEVICE inline void ForwardOfThread(const BatchNormGrid& grid, const BatchNormPlace& place, const T* y,
                                                 const T* scale, const T* shift, const T* addend, T* out) {
  if (!place.active) return;
  const Pack<T, kVector> a = LoadPack<kVector>(scale + place.channel), b = LoadPack<kVector>(shift + place.channel);
  for (int64_t row = place.begin; row < place.end; row += grid.lanes) {
    const int64_t offset = row * grid.channels + place.channel;
    const Pack<T, kVector> value = LoadPack<kVector>(y + offset);
    Pack<T, kVector> other = {};
    if (addend != nullptr) other = LoadPack<kVector>(addend + offset);
    Pack<T, kVector> result;
    for (int v = 0; v < kVector; ++v) {
      T x = Normalized(value.at[v], a.at[v], b.at[v]);
      if (addend != nullptr) x = x + other.at[v];
      result.at[v] = kRelu ? ReluOf(x) : x;
    }
    StorePack<kVector>(out + offset, result);
  }
}

// What shows whether a ReLU let an element through.
enum class BatchNormGate {
  kNone,      // there is no ReLU
  kComputed,  // BN's output, computed again from y
  kOutput,    // the forward pass's output, where something was added; the gated gradient is written, the addend's
};

// The gated gradient, and its product with y - mean. `out` and `gated` with kOutput only.
template <BatchNormGate kGate, int kVector, typename T>
PRUNELAB_HOST_DEVICE inline ThreadSums<kVector> BackwardSumsOfThread(const BatchNormGrid& grid,
                                                                     const BatchNormPlace& place, const T* gradient,
                                                                     const T* y, const T* out, const T* scale,
                                                                     const T* shift, const T* mean, T* gated) {
  T sum[kVector] = {}, product[kVector] = {};
  if (place.active) {
    const Pack<T, kVector> a = LoadPack<kVector>(scale + place.channel), b = LoadPack<kVector>(shift + place.channel);
    const Pack<T, kVector> m = LoadPack<kVector>(mean + place.channel);
    for (int64_t row = place.begin; row < place.end; row += grid.lanes) {
      const int64_t offset = row * grid.channels + place.channel;
      const Pack<T, kVector> value = LoadPack<kVector>(y + offset);
      Pack<T, kVector> g = LoadPack<kVector>(gradient + offset);
      Pack<T, kVector> output = {};
      if (kGate == BatchNormGate::kOutput) output = LoadPack<kVector>(out + offset);
      for (int v = 0; v < kVector; ++v) {
        if (kGate == BatchNormGate::kComputed) output.at[v] = Normalized(value.at[v], a.at[v], b.at[v]);
        if (kGate != BatchNormGate::kNone) g.at[v] = GatedBy(output.at[v], g.at[v]);
        sum[v] += g.at[v];
        product[v] = MultiplyAdd(g.at[v], value.at[v] - m.at[v], product[v]);
      }
      if (kGate == BatchNormGate::kOutput) StorePack<kVector>(gated + offset, g);
    }
  }
  ThreadSums<kVector> sums;
  for (int v = 0; v < kVector; ++v) {
    sums.first[v] = sum[v];
    sums.second[v] = product[v];
  }
  return sums;
}

// `gradient` is the gated one where there is one: then kGate is kNone.
template <BatchNormGate kGate, int kVector, typename T>
PRUNELAB_HOST_DEVICE inline void InputGradientOfThread(const BatchNormGrid& grid, const BatchNormPlace& place,
                                                       const T* gradient, const T* y, const T* scale, const T* shift,
                                                       const T* mean, const T* of_y, const T* constant, T* dy) {
  static_assert(kGate != BatchNormGate::kOutput, "the gated gradient is there");
  if (!place.active) return;
  const Pack<T, kVector> a = LoadPack<kVector>(scale + place.channel), b = LoadPack<kVector>(shift + place.channel);
  const Pack<T, kVector> m = LoadPack<kVector>(mean + place.channel);
  const Pack<T, kVector> k = LoadPack<kVector>(of_y + place.channel), d = LoadPack<kVector>(constant + place.channel);
  for (int64_t row = place.begin; row < place.end; row += grid.lanes) {
    const int64_t offset = row * grid.channels + place.channel;
    const Pack<T, kVector> value = LoadPack<kVector>(y + offset), g = LoadPack<kVector>(gradient + offset);
    Pack<T, kVector> result;
    for (int v = 0; v < kVector; ++v) {
      T gated = g.at[v];
      if (kGate == BatchNormGate::kComputed) gated = GatedBy(Normalized(value.at[v], a.at[v], b.at[v]), gated);
      result.at[v] = InputGradient(gated, value.at[v], a.at[v], m.at[v], k.at[v], d.at[v]);
    }
    StorePack<kVector>(dy + offset, result);
  }
}

// The lanes of a block are folded in place, in memory that its threads share: `first` and `second` hold kVector sums
// for each thread. After each call for all threads, `width` lanes have become half as many, rounded up; until one is
// left:
//   for (int width = grid.lanes; width > 1; width = HalfOf(width)) FoldLanes(...);
PRUNELAB_HOST_DEVICE inline int HalfOf(int width) { return (width + 1) / 2; }

template <int kVector>
PRUNELAB_HOST_DEVICE inline void ShareSums(int thread, const ThreadSums<kVector>& sums, double* first, double* second) {
  for (int v = 0; v < kVector; ++v) {
    first[thread * kVector + v] = sums.first[v];
    second[thread * kVector + v] = sums.second[v];
  }
}

template <int kVector>
PRUNELAB_HOST_DEVICE inline void FoldLanes(const BatchNormGrid& grid, const BatchNormPlace& place, int width,
                                           double* first, double* second) {
  const int half = HalfOf(width);
  if (place.lane + half >= width) return;
  const int to = (place.lane * grid.columns + place.column) * kVector;
  const int from = to + half * grid.columns * kVector;
  for (int v = 0; v < kVector; ++v) {
    first[to + v] += first[from + v];
    second[to + v] += second[from + v];
  }
}

// Then the first lane's threads leave the block's sums in `partial` [channels, chunks, 2].
template <int kVector>
PRUNELAB_HOST_DEVICE inline void StoreBlockSums(const BatchNormGrid& grid, const BatchNormPlace& place, int64_t chunk,
                                                const double* first, const double* second, double* partial) {
  if (!place.active || place.lane != 0) return;
  for (int v = 0; v < kVector; ++v) {
    double* const to = partial + 2 * ((place.channel + v) * grid.chunks + chunk);
    to[0] = first[place.column * kVector + v];
    to[1] = second[place.column * kVector + v];
  }
}

// A warp for each channel takes the sum over the blocks: lane l those numbered l, l + 32, ..., then lane l adds lane
// l ^ 16, then l ^ 8, ..., l ^ 1.
PRUNELAB_HOST_DEVICE inline ChannelSums SumsOfWarpLane(const BatchNormGrid& grid, const double* partial,
                                                       int64_t channel, int lane) {
  ChannelSums sums;
  for (int64_t chunk = lane; chunk < grid.chunks; chunk += kBatchNormWarp) {
    sums.first += partial[2 * (channel * grid.chunks + chunk)];
    sums.second += partial[2 * (channel * grid.chunks + chunk) + 1];
  }
  return sums;
}

// A batch normalization's own tensors, [channels] each.
template <typename T>
struct BatchNormParameters {
  const T* gamma = nullptr;
  const T* beta = nullptr;
  T* running_mean = nullptr;
  T* running_var = nullptr;
  int64_t* batches = nullptr;  // a single number
  double epsilon = 0;
  double momentum = 0;  // the batch's weight in the running statistics
};

// What the forward pass leaves for the backward pass, [channels] each.
template <typename T>
struct BatchNormSaved {
  T* scale = nullptr;
  T* shift = nullptr;
  T* mean = nullptr;
  double* inverse = nullptr;
};

template <typename T>
PRUNELAB_HOST_DEVICE inline void FinishStatistics(const BatchNormGrid& grid, const T* y,
                                                  const BatchNormParameters<T>& parameters, ChannelSums sums,
                                                  int64_t channel, const BatchNormSaved<T>& saved) {
  const double rows = static_cast<double>(grid.rows);
  const ChannelMoments moments = MomentsOf(sums, static_cast<double>(y[channel]), rows);
  const ChannelAffine affine = AffineOf(moments.mean, moments.variance, static_cast<double>(parameters.gamma[channel]),
                                        static_cast<double>(parameters.beta[channel]), parameters.epsilon);
  saved.scale[channel] = static_cast<T>(affine.scale);
  saved.shift[channel] = static_cast<T>(affine.shift);
  saved.mean[channel] = static_cast<T>(affine.mean);
  saved.inverse[channel] = affine.inverse;
  T& mean = parameters.running_mean[channel];
  T& var = parameters.running_var[channel];
  const double unbiased = Multiply(moments.variance, rows) / (rows - 1);
  mean = static_cast<T>(RunningAfter(static_cast<double>(mean), moments.mean, parameters.momentum));
  var = static_cast<T>(RunningAfter(static_cast<double>(var), unbiased, parameters.momentum));
  if (channel == 0) *parameters.batches += 1;
}

// For evaluation: scale and shift by the running statistics.
template <typename T>
PRUNELAB_HOST_DEVICE inline void AffineByRunningStatistics(const BatchNormParameters<T>& parameters, int64_t channel,
                                                           T* scale, T* shift) {
  const ChannelAffine affine =
      AffineOf(static_cast<double>(parameters.running_mean[channel]),
               static_cast<double>(parameters.running_var[channel]), static_cast<double>(parameters.gamma[channel]),
               static_cast<double>(parameters.beta[channel]), parameters.epsilon);
  scale[channel] = static_cast<T>(affine.scale);
  shift[channel] = static_cast<T>(affine.shift);
}

// Gradients of a channel's gamma and beta, and what InputGradientOfThread needs, [channels] each.
template <typename T>
struct BatchNormChannelGradients {
  T* gamma = nullptr;
  T* beta = nullptr;
  T* of_y = nullptr;
  T* constant = nullptr;
};

template <typename T>
PRUNELAB_HOST_DEVICE inline void FinishBackward(const BatchNormGrid& grid, const T* scale, const double* inverse,
                                                ChannelSums sums, int64_t channel,
                                                const BatchNormChannelGradients<T>& to) {
  const ChannelGradients gradients =
      GradientsOf(sums, static_cast<double>(scale[channel]), inverse[channel], static_cast<double>(grid.rows));
  to.gamma[channel] = static_cast<T>(gradients.gamma);
  to.beta[channel] = static_cast<T>(gradients.beta);
  to.of_y[channel] = static_cast<T>(gradients.of_y);
  to.constant[channel] = static_cast<T>(gradients.constant);
}

}  // namespace prunelab
