// The inner loops of conv3x3.h over some rows of tiles, on one thread. rows.cc is compiled once for each instruction
// set, in its own namespace. The code there must not use the standard library: a template that two instruction sets
// instantiate would be linked once for both.
//
// A tile is two by two pixels of the output. Rows of tiles are counted through all images: image n has n * tile_rows()
// ... (n + 1) * tile_rows() - 1.
#pragma once

#include <cstdint>

#include "ml/kernels/conv3x3/conv3x3.h"

namespace prunelab {

struct Conv3x3Shape {
  int64_t images, height, width, in, out;

  int64_t tile_rows() const { return (height + 1) / 2; }
  int64_t tile_columns() const { return (width + 1) / 2; }
  // The number of pixels before a row of tiles, counted through all images.
  int64_t PixelsBefore(int64_t tile_row) const {
    return (tile_row / tile_rows() * height + tile_row % tile_rows() * 2) * width;
  }
};

struct Conv3x3Rows {
  // Inputs are those of all rows; `zeros` a row of them, width * in.
  // The 16 transformed values of each 3x3 filter, [16][in][out]: of weight [out][3][3][in], or, for the input gradient,
  // of its taps in reverse with the channels' roles exchanged, [16][out][in].
  void (*transform_weight)(const Conv3x3Shape& shape, const float* weight, float* transformed);
  void (*transform_weight_for_input)(const Conv3x3Shape& shape, const float* weight, float* transformed);
  // Elements of the scratch of the two below.
  int64_t (*scratch_size)(const Conv3x3Shape& shape);
  // The outputs of `count` rows of tiles starting at `first`, added to `addend`'s if there is one; y and addend point
  // to where those begin.
  void (*convolve)(const Conv3x3Shape& shape, const Conv3x3Input& x, const float* zeros, const float* transformed,
                   int64_t first, int64_t count, const float* addend, float* y, float* scratch);
  // What is computed from them: rows of `out`, starting where those of `first` begin. y is as `convolve` wrote it, with
  // kConv3x3Overread more elements that may be read; it may be `out` itself if output.position is null. `addend` of
  // output is that of all rows.
  void (*finish)(const Conv3x3Shape& shape, const Conv3x3Output& output, int64_t first, int64_t count, const float* y,
                 float* out);
  // Adds to gradient [16][in][out] that of the transformed weights from `count` rows of tiles starting at `first`.
  void (*add_weight_gradient)(const Conv3x3Shape& shape, const Conv3x3Input& x, const float* zeros, const float* dy,
                              int64_t first, int64_t count, float* gradient, float* scratch);
  // The gradient of the weights [9][in][out] from that of the transformed ones.
  void (*weight_from_transformed)(const Conv3x3Shape& shape, const float* gradient, float* dweight);
};

// The largest number of tiles that are handled at a time: `count` rows have no more.
constexpr int kConv3x3Tiles = 32;
constexpr int kConv3x3Overread = 16;

namespace avx2 {
Conv3x3Rows FindConv3x3();
}
namespace avx512 {
Conv3x3Rows FindConv3x3();
}

}  // namespace prunelab
