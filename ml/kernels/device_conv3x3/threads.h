// What each thread of the CUDA kernels in kernels.cu does, as plain functions of the block and the thread. The host can
// call them for all threads of all blocks in turn (on_host.h), so that tests on the host cover the device's indices and
// the order of its sums, too.
//
// Memory is channels_last: x [images, height, width, in], dy [images, height, width, out], and the weight's gradient
// [out, 3, 3, in]. A thread takes four input and four output channels and adds up, in registers, all nine taps of their
// 16 pairs while it goes along rows of pixels: 144 multiply-adds for each 64 bytes that it reads. A block has threads
// for up to 32 x 32 channels, and as many "lanes" of them as fit, each with rows of its own. Sums are taken in four
// stages, each in a fixed order: a thread's rows, a block's lanes, every eighth split of all rows, and the eight. All
// of this depends on the shape alone, and nothing is added atomically, so a step repeats bit for bit, on GPUs of all
// sizes.
#pragma once

#include <cstdint>

#include "ml/kernels/device_elements.h"

namespace prunelab {

inline constexpr int kWeightGradientThreads = 256;  // of a block
inline constexpr int kGroup = 4;                    // channels that a thread takes at once
inline constexpr int kMaxGroups = 8;                // next to each other in a block, of input and of output channels
// Blocks in all, if there are rows enough: a block's registers fill a multiprocessor, and the GPUs that this is for
// have 108 to 132 of them.
inline constexpr int64_t kWantedBlocks = 128;
inline constexpr int kTaps = 9;

struct WeightGradientGrid {
  int64_t images = 0;
  int height = 0, width = 0;
  int in = 0, out = 0;                // channels, multiples of kGroup
  int in_groups = 1, out_groups = 1;  // of a block's threads
  int lanes = 1;
  int in_tiles = 1, out_tiles = 1;  // blocks next to each other over channels
  int64_t rows_of_lane = 1;
  int splits = 1;  // blocks one after the other over rows
  PRUNELAB_HOST_DEVICE int64_t rows() const { return images * height; }
  PRUNELAB_HOST_DEVICE int pairs() const { return in_groups * out_groups; }  // threads of a lane
  PRUNELAB_HOST_DEVICE int weights() const { return out * kTaps * in; }
  int64_t partial_size() const { return int64_t{splits} * weights(); }  // floats: the sums of all splits
};

// All sizes at least 1; `in` and `out` multiples of kGroup.
inline WeightGradientGrid MakeWeightGradientGrid(int64_t images, int height, int width, int in, int out) {
  const auto up = [](int64_t a, int64_t b) { return (a + b - 1) / b; };
  const auto groups_of = [](int channels) { return channels / kGroup < kMaxGroups ? channels / kGroup : kMaxGroups; };
  WeightGradientGrid grid;
  grid.images = images;
  grid.height = height;
  grid.width = width;
  grid.in = in;
  grid.out = out;
  grid.in_groups = groups_of(in);
  grid.out_groups = groups_of(out);
  grid.lanes = kWeightGradientThreads / grid.pairs();
  grid.in_tiles = static_cast<int>(up(in, kGroup * grid.in_groups));
  grid.out_tiles = static_cast<int>(up(out, kGroup * grid.out_groups));
  const int64_t tiles = int64_t{grid.in_tiles} * grid.out_tiles;
  const int64_t wanted = tiles < kWantedBlocks ? kWantedBlocks / tiles : 1;
  grid.rows_of_lane = up(grid.rows(), wanted * grid.lanes);
  grid.splits = static_cast<int>(up(grid.rows(), grid.rows_of_lane * grid.lanes));
  return grid;
}

// Where a thread stands.
struct WeightGradientPlace {
  bool active = false;         // whether there is anything for it to do
  int in = 0, out = 0;         // its first channels
  int64_t begin = 0, end = 0;  // its rows of pixels, of all images
};

PRUNELAB_HOST_DEVICE inline WeightGradientPlace WeightGradientPlaceOf(const WeightGradientGrid& grid, int split,
                                                                      int tile, int thread) {
  WeightGradientPlace place;
  const int pair = thread % grid.pairs(), lane = thread / grid.pairs();
  place.in = ((tile % grid.in_tiles) * grid.in_groups + pair % grid.in_groups) * kGroup;
  place.out = ((tile / grid.in_tiles) * grid.out_groups + pair / grid.in_groups) * kGroup;
  place.active = lane < grid.lanes && place.in < grid.in && place.out < grid.out;
  const int64_t rows = grid.rows();
  place.begin = (int64_t{split} * grid.lanes + lane) * grid.rows_of_lane;
  const int64_t end = place.begin + grid.rows_of_lane;
  place.end = end < rows ? end : rows;
  return place;
}

using FourChannels = Pack<float, kGroup>;

// A thread's sums: [tap][output channel], of four input channels each.
struct WeightGradientSums {
  FourChannels at[kTaps][kGroup];
};

// A row of pixels, at the thread's channels; null outside of the picture.
struct PixelRow {
  const float* pixels = nullptr;
  PRUNELAB_HOST_DEVICE FourChannels Load(int column, int width, int channels) const {
    if (pixels == nullptr || column >= width) return {};
    return LoadPack<kGroup>(pixels + column * channels);
  }
};

// The three rows around the output's row, at three columns: `at[row][slot]`. Going one pixel to the right replaces the
// leftmost slot, so that nothing is moved: kLeft is the slot of the left column.
struct PixelWindow {
  FourChannels at[3][3];
};

// Adds the products of one pixel's gradient with the window around it.
template <int kLeft>
PRUNELAB_HOST_DEVICE inline void AddPixel(const PixelWindow& window, const FourChannels& dy, WeightGradientSums& sums) {
  PRUNELAB_UNROLL
  for (int tap = 0; tap < kTaps; ++tap) {
    const FourChannels& x = window.at[tap / 3][(kLeft + tap % 3) % 3];
    PRUNELAB_UNROLL
    for (int o = 0; o < kGroup; ++o) {
      PRUNELAB_UNROLL
      for (int i = 0; i < kGroup; ++i) {
        sums.at[tap][o].at[i] = MultiplyAdd(dy.at[o], x.at[i], sums.at[tap][o].at[i]);
      }
    }
  }
}

// One pixel of a row, at `column`; reads what the next one needs first, so that it arrives while this one is added.
template <int kLeft>
PRUNELAB_HOST_DEVICE inline void NextPixel(const WeightGradientGrid& grid, const PixelRow (&rows)[3],
                                           const PixelRow& gradient, int column, PixelWindow& window, FourChannels& dy,
                                           WeightGradientSums& sums) {
  const FourChannels above = rows[0].Load(column + 2, grid.width, grid.in);
  const FourChannels middle = rows[1].Load(column + 2, grid.width, grid.in);
  const FourChannels below = rows[2].Load(column + 2, grid.width, grid.in);
  const FourChannels next = gradient.Load(column + 1, grid.width, grid.out);
  AddPixel<kLeft>(window, dy, sums);
  window.at[0][kLeft] = above;
  window.at[1][kLeft] = middle;
  window.at[2][kLeft] = below;
  dy = next;
}

PRUNELAB_HOST_DEVICE inline void AddRow(const WeightGradientGrid& grid, const WeightGradientPlace& place,
                                        const float* x, const float* dy, int64_t row, WeightGradientSums& sums) {
  const int in_image = static_cast<int>(row % grid.height);
  const int64_t stride = int64_t{grid.width} * grid.in;
  const float* const at_row = x + row * stride + place.in;
  PixelRow rows[3], gradient;
  if (in_image > 0) rows[0].pixels = at_row - stride;
  rows[1].pixels = at_row;
  if (in_image + 1 < grid.height) rows[2].pixels = at_row + stride;
  gradient.pixels = dy + row * (int64_t{grid.width} * grid.out) + place.out;
  PixelWindow window;
  PRUNELAB_UNROLL
  for (int r = 0; r < 3; ++r) {
    window.at[r][0] = {};
    window.at[r][1] = rows[r].Load(0, grid.width, grid.in);
    window.at[r][2] = rows[r].Load(1, grid.width, grid.in);
  }
  FourChannels pixel = gradient.Load(0, grid.width, grid.out);
  for (int column = 0; column < grid.width; column += 3) {
    NextPixel<0>(grid, rows, gradient, column, window, pixel, sums);
    if (column + 1 >= grid.width) break;
    NextPixel<1>(grid, rows, gradient, column + 1, window, pixel, sums);
    if (column + 2 >= grid.width) break;
    NextPixel<2>(grid, rows, gradient, column + 2, window, pixel, sums);
  }
}

PRUNELAB_HOST_DEVICE inline void WeightGradientOfThread(const WeightGradientGrid& grid,
                                                        const WeightGradientPlace& place, const float* x,
                                                        const float* dy, WeightGradientSums& sums) {
  if (!place.active) return;
  for (int64_t row = place.begin; row < place.end; ++row) AddRow(grid, place, x, dy, row, sums);
}

// The lanes of a block are added tap by tap, in memory that its threads share: [kGroup][threads] packs, one for each of
// a thread's output channels.
PRUNELAB_HOST_DEVICE inline void ShareTap(int thread, const FourChannels (&of_tap)[kGroup], FourChannels* shared) {
  PRUNELAB_UNROLL
  for (int o = 0; o < kGroup; ++o) shared[o * kWeightGradientThreads + thread] = of_tap[o];
}

// Then each thread adds the lanes of its share of the block's sums, and leaves them in `partial`
// [splits, out, 3, 3, in].
PRUNELAB_HOST_DEVICE inline void StoreTap(const WeightGradientGrid& grid, int split, int tile, int thread, int tap,
                                          const FourChannels* shared, float* partial) {
  const int channels_of_output = grid.pairs() * kGroup;
  for (int element = thread; element < kGroup * channels_of_output; element += kWeightGradientThreads) {
    const int o = element / channels_of_output, pair = element % channels_of_output / kGroup, i = element % kGroup;
    const WeightGradientPlace place = WeightGradientPlaceOf(grid, split, tile, pair);
    if (!place.active) continue;
    float sum = 0;
    for (int lane = 0; lane < grid.lanes; ++lane) {
      sum += shared[o * kWeightGradientThreads + lane * grid.pairs() + pair].at[i];
    }
    partial[((int64_t{split} * grid.out + place.out + o) * kTaps + tap) * grid.in + place.in + i] = sum;
  }
}

// The splits are added by kSplitThreads threads for each weight: thread t takes those numbered t, t + kSplitThreads,
// ..., and then the threads' sums are added in their order.
inline constexpr int kSplitThreads = 8;

PRUNELAB_HOST_DEVICE inline float SumOfSplits(const WeightGradientGrid& grid, const float* partial, int weight,
                                              int first) {
  float sum = 0;
  for (int split = first; split < grid.splits; split += kSplitThreads) {
    sum += partial[int64_t{split} * grid.weights() + weight];
  }
  return sum;
}

}  // namespace prunelab
