// Puts channels of a removed network back into their places in a residual stream, in channels_last memory.
//
//   x [rows, 2], index {0, 3}, channels 4:   out [rows, 4] = x0 0 0 x1
//
// It is one pass over the output, on LibTorch's threads. LibTorch's own zeros and index_copy take as long as the
// convolution that the removal made smaller.
#pragma once

#include <cstdint>

namespace prunelab {

// `index`: `stored` different channels in [0, channels). Every number of `out` is written.
template <typename T>
void ScatterChannels(int64_t rows, int64_t stored, int64_t channels, const int64_t* index, const T* x, T* out);

}  // namespace prunelab
