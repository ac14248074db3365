// Small picture files for tests.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace prunelab {

// `pixels` are [height, width, channels]; channels 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA).
std::string EncodePng(int64_t height, int64_t width, int64_t channels, const std::vector<uint8_t>& pixels);

// `channels` 1 (grey), 3 (RGB) or 4 (CMYK, ink inverted as Adobe's programs do), at quality 100 without subsampling.
std::string EncodeJpeg(int64_t height, int64_t width, int64_t channels, const std::vector<uint8_t>& pixels);

// [height, width, 3] of one colour.
std::vector<uint8_t> OneColor(int64_t height, int64_t width, uint8_t red, uint8_t green, uint8_t blue);

}  // namespace prunelab
