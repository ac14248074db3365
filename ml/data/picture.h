// Pictures: JPEG and PNG files as pixels, and pixels at another size.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const Picture picture, DecodePicture(bytes));
//   ResizeAndCrop(picture, /*resize=*/256, /*crop=*/224, /*channels=*/3, out);
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]: red, green, blue
  // How the picture must be turned to stand upright, by its EXIF data (the tag Orientation, 1 to 8): see TurnUpright.
  // 1: it is already upright, or there are no such data.
  int orientation = 1;
  bool exif_damaged = false;  // there are EXIF data, but they are damaged before the orientation
  bool deep_grey = false;     // a PNG with grey samples of 16 bits
};

// Decodes a JPEG (grey, colour, CMYK) or PNG (any kind), which it recognizes by the first bytes, to the pixels of
// Pillow's Image.open(file).convert("RGB"), which torchvision uses:
//
// - Samples are used as they are stored: no gamma, no white point and no colour profile (gAMA, cHRM, sRGB, iCCP, cICP)
//   is applied.
// - Alpha is dropped, in whole pictures, palettes and single transparent colours alike: transparent pixels show the
//   colour that is stored there.
// - The upper eight bits of 16-bit samples are used. Pillow does the same, except for grey without alpha (`deep_grey`),
//   where it turns everything above 255 white.
// - CMYK is assumed to be inverted, as Adobe's programs store it.
// - An orientation in EXIF data is not applied.
//
// Errors, InvalidArgument: the bytes are neither of the two, are damaged or truncated (a picture that can be decoded
// only in part is an error), or have more than 2^28 pixels. Memory is allocated only for what a file of this length can
// contain.
//
// `least_shorter_side` above 0: a JPEG may be decoded at a smaller size, k eighths of its own for the smallest k from 1
// to 8 whose shorter side still has so many pixels. That costs less, and its pixels are libjpeg-turbo's scaled ones
// (the inverse transform of fewer frequencies), not means over areas.
absl::StatusOr<Picture> DecodePicture(absl::string_view bytes, int64_t least_shorter_side = 0);

// The libraries that decode, with their versions: another version may give other pixels.
std::string DecoderVersions();

// Turns and mirrors the picture as `orientation` says, which is 1 afterwards; same as Pillow's ImageOps.exif_transpose.
void TurnUpright(Picture& picture);

// Scales the picture so that its shorter side has `resize` pixels, and writes the middle `crop` x `crop` pixels of that
// (crop <= resize) to `out` as [channels, crop, crop]; with one channel as luma, (299 R + 587 G + 114 B) / 1000.
//
// Each pixel is the mean over the area that it covers in the picture, in exact integer arithmetic, rounded to the
// nearest integer (halves up). So shrinking by a whole factor averages squares, and enlarging repeats pixels and mixes
// them only where an output pixel covers two. The longer side is rounded to whole pixels. If the margin is odd, its
// larger part is on the right and at the bottom.
void ResizeAndCrop(const Picture& picture, int64_t resize, int64_t crop, int64_t channels, uint8_t* out);

}  // namespace prunelab
