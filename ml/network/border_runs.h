// Where a picture that is the same for every image differs from pixel to pixel.
//
// After a convolution that pads, a constant channel is no longer constant: near the border some taps meet zeros. But
// all pixels of the inside are still equal, so the rows of such pictures are described by runs of equal rows:
//
//   a constant of 8 x 8 pixels      rows {8}
//   behind a 3x3 convolution, pad 1 rows {1, 6, 1}: three rows and three columns hold all there is, as the taps do
//   behind one more                 rows {1, 1, 4, 1, 1}
//
// The same holds for columns. This follows from sizes alone, whatever the values are.
#pragma once

#include <cstdint>
#include <vector>

namespace prunelab {

// Lengths of runs of equal rows, from the top; they add up to the height.
using Runs = std::vector<int64_t>;

// How a sliding window treats the pixels outside of the picture.
enum class Border {
  kZeros,    // zeros, with a different weight for each tap (convolution)
  kAverage,  // zeros, with the same weight for all taps (average pooling)
  kIgnored,  // they are ignored (max pooling)
};

struct Window {
  int64_t kernel = 1, stride = 1, padding = 0, dilation = 1;
  Border border = Border::kZeros;
};

// The runs after a window has slid over rows with the runs `in`.
Runs WindowRuns(const Runs& in, const Window& window);

// The runs of the sum of two pictures with `size` rows; a picture with a single row is repeated.
Runs MergeRuns(const Runs& a, const Runs& b, int64_t size);

// The index of the first row of each run.
std::vector<int64_t> RunStarts(const Runs& runs);

}  // namespace prunelab
