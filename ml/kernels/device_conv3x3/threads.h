// What each thread of the CUDA kernels in kernels.cu does, as plain functions of the block and the thread. The host can
// call them for all threads of all blocks in turn (on_host.h), so that tests on the host cover the device's indices and
// the order of its sums, too.
//
// Memory is channels_last: x [images, height, width, in], dy [images, height, width, out], and the weight's gradient
// [out, 3, 3, in]. A thread takes four input channels, four output channels and one row of the kernel, and adds up the
// three taps of their 16 pairs in registers: 48 multiply-adds for each 32 bytes that it reads. It goes along rows of
// pixels without a stop between them, and reads kAhead pixels ahead of what it adds, because memory answers only after
// hundreds of cycles. A block has threads for up to 32 x 32 channels, and as many "lanes" of them as fit, each with
// rows of its own. Sums are taken in four stages, each in a fixed order: a thread's rows, a block's lanes, every eighth
// split of all rows, and the eight. All of this depends on the shape alone, and nothing is added atomically, so a step
// repeats bit for bit, on GPUs of all sizes.
#pragma once

#include <cstdint>

#include "ml/kernels/device_elements.h"

namespace prunelab {

inline constexpr int kWeightGradientThreads = 384;  // of a block
inline constexpr int kGroup = 4;                    // channels that a thread takes at once
inline constexpr int kMaxGroups = 8;                // next to each other in a block, of input and of output channels
// Blocks in all, if there are rows enough: a block's registers fill a multiprocessor, and the GPUs that this is for
// have 108 to 132 of them.
inline constexpr int64_t kWantedBlocks = 128;
inline constexpr int kKernel = 3;  // rows and columns of the kernel

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
  PRUNELAB_HOST_DEVICE int pairs() const { return in_groups * out_groups; }  // threads of a kernel's row
  PRUNELAB_HOST_DEVICE int weights() const { return out * kKernel * kKernel * in; }
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
  grid.lanes = kWeightGradientThreads / (kKernel * grid.pairs());
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
  int kernel_row = 0;          // 0 reads the pixels above the output's
  int64_t begin = 0, end = 0;  // its rows of pixels, of all images
};

PRUNELAB_HOST_DEVICE inline WeightGradientPlace WeightGradientPlaceOf(const WeightGradientGrid& grid, int split,
                                                                      int tile, int thread) {
  WeightGradientPlace place;
  const int pair = thread % grid.pairs(), lane = thread / (grid.pairs() * kKernel);
  place.kernel_row = thread / grid.pairs() % kKernel;
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

// A thread's sums: [kernel's column][output channel], of four input channels each.
struct WeightGradientSums {
  FourChannels at[kKernel][kGroup];
};

// Pixels one after the other: those of a thread's rows, each row followed by a column of zeros, which is the padding to
// the right of its row and to the left of the next one; after the last row zeros. `x` comes from the row that the
// thread's row of the kernel reads, and is zero where that is outside of the picture.
struct PixelStream {
  const float *x, *dy;
  int rows;    // to come, with the current one
  int column;  // in the current row; `width` is the column of zeros
  int height, width, in, out;
  int x_row;  // in its image, that x is read from

  PRUNELAB_HOST_DEVICE PixelStream(const WeightGradientGrid& grid, const WeightGradientPlace& place, const float* all_x,
                                   const float* all_dy)
      : x(all_x + (place.begin + place.kernel_row - 1) * (int64_t{grid.width} * grid.in) + place.in),
        dy(all_dy + place.begin * (int64_t{grid.width} * grid.out) + place.out),
        rows(static_cast<int>(place.end - place.begin)),
        column(0),
        height(grid.height),
        width(grid.width),
        in(grid.in),
        out(grid.out),
        x_row(static_cast<int>(place.begin % grid.height) + place.kernel_row - 1) {}

  PRUNELAB_HOST_DEVICE void Next(int kernel_row, FourChannels& of_x, FourChannels& of_dy) {
    const bool pixel = column < width && rows > 0;
    of_x = {};
    of_dy = {};
    if (pixel) of_dy = LoadPack<kGroup>(dy);
    if (pixel && static_cast<unsigned>(x_row) < static_cast<unsigned>(height)) of_x = LoadPack<kGroup>(x);
    x += pixel ? in : 0;
    dy += pixel ? out : 0;
    const bool end = column == width;
    column = end ? 0 : column + 1;
    rows -= end;
    x_row += end;
    if (x_row == height + kernel_row - 1) x_row = kernel_row - 1;  // of the next image
  }
};

// The pixels that a thread holds: the one that it adds, its neighbours, and those that it has read ahead. Pixel p is in
// slot p % kSlots, so that nothing is moved.
inline constexpr int kSlots = 8, kAhead = kSlots - 1;
struct PixelRing {
  FourChannels x[kSlots], dy[kSlots];
};

// Adds the pixel in slot kSlot, and reads the one that takes the place of its left neighbour.
template <int kSlot>
PRUNELAB_HOST_DEVICE inline void AddPixel(int kernel_row, PixelStream& stream, PixelRing& ring,
                                          WeightGradientSums& sums) {
  const FourChannels& dy = ring.dy[kSlot];
  PRUNELAB_UNROLL
  for (int column = 0; column < kKernel; ++column) {
    const FourChannels& x = ring.x[(kSlot + kSlots - 1 + column) % kSlots];
    PRUNELAB_UNROLL
    for (int o = 0; o < kGroup; ++o) {
      PRUNELAB_UNROLL
      for (int i = 0; i < kGroup; ++i) {
        sums.at[column][o].at[i] = MultiplyAdd(dy.at[o], x.at[i], sums.at[column][o].at[i]);
      }
    }
  }
  constexpr int kFree = (kSlot + kAhead) % kSlots;
  stream.Next(kernel_row, ring.x[kFree], ring.dy[kFree]);
}

PRUNELAB_HOST_DEVICE inline void WeightGradientOfThread(const WeightGradientGrid& grid,
                                                        const WeightGradientPlace& place, const float* all_x,
                                                        const float* all_dy, WeightGradientSums& sums) {
  if (!place.active || place.begin >= place.end) return;
  PixelStream stream(grid, place, all_x, all_dy);
  PixelRing ring;
  ring.x[kAhead] = {};  // the padding to the left of the first row
  PRUNELAB_UNROLL
  for (int slot = 0; slot < kAhead; ++slot) stream.Next(place.kernel_row, ring.x[slot], ring.dy[slot]);
  const int64_t pixels = (place.end - place.begin) * (grid.width + 1);
  for (int64_t pixel = 0; pixel < pixels; pixel += kSlots) {
    AddPixel<0>(place.kernel_row, stream, ring, sums);
    AddPixel<1>(place.kernel_row, stream, ring, sums);
    AddPixel<2>(place.kernel_row, stream, ring, sums);
    AddPixel<3>(place.kernel_row, stream, ring, sums);
    AddPixel<4>(place.kernel_row, stream, ring, sums);
    AddPixel<5>(place.kernel_row, stream, ring, sums);
    AddPixel<6>(place.kernel_row, stream, ring, sums);
    AddPixel<7>(place.kernel_row, stream, ring, sums);
  }
}

// The lanes of a block are added column by column of the kernel, in memory that its threads share: [kGroup][threads]
// packs, one for each of a thread's output channels.
PRUNELAB_HOST_DEVICE inline void ShareColumn(int thread, const FourChannels (&of_column)[kGroup],
                                             FourChannels* shared) {
  PRUNELAB_UNROLL
  for (int o = 0; o < kGroup; ++o) shared[o * kWeightGradientThreads + thread] = of_column[o];
}

// Then each thread adds the lanes of its share of the block's sums, and leaves them in `partial`
// [splits, out, 3, 3, in].
PRUNELAB_HOST_DEVICE inline void StoreColumn(const WeightGradientGrid& grid, int split, int tile, int thread,
                                             int column, const FourChannels* shared, float* partial) {
  const int of_lane = grid.pairs() * kKernel, of_output = of_lane * kGroup;
  for (int element = thread; element < kGroup * of_output; element += kWeightGradientThreads) {
    const int o = element / of_output, in_lane = element % of_output / kGroup, i = element % kGroup;
    const WeightGradientPlace place = WeightGradientPlaceOf(grid, split, tile, in_lane);
    if (!place.active) continue;
    float sum = 0;
    for (int lane = 0; lane < grid.lanes; ++lane) {
      sum += shared[o * kWeightGradientThreads + lane * of_lane + in_lane].at[i];
    }
    const int tap = place.kernel_row * kKernel + column;
    partial[((int64_t{split} * grid.out + place.out + o) * (kKernel * kKernel) + tap) * grid.in + place.in + i] = sum;
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
