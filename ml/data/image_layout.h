// Detects images whose axes are in the order of numpy's pictures and TensorFlow, [N, height, width, channels], where
// [N, channels, height, width] is expected. Both are four numbers, and a network would train on either.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace prunelab {

// Whether images with the axes [a, b, c] (without N) are unlikely to be a channels of b x c pixels: the first two axes
// are larger than 4, and the last is a picture's number of channels (1 to 4), or smaller than the two before it, which
// are equal. This is true for [12, 12, 3], [32, 32, 1], [20, 30, 3] and [64, 64, 10], and false for [3, 32, 32], [1, 8,
// 8], [3, 3, 3], [12, 12, 12] and [16, 8, 8].
bool LooksChannelsLast(const std::array<int64_t, 3>& axes);

// "[12, 12, 3] looks like height, width, channels; transpose the images to [N, 3, 12, 12], in numpy
// numpy.ascontiguousarray(images.transpose(0, 3, 1, 2)), in PyTorch images.permute(0, 3, 1, 2).contiguous()".
std::string ChannelsLastText(const std::array<int64_t, 3>& axes);

}  // namespace prunelab
