// Pictures: JPEG and PNG files as pixels, and pixels at another size.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const Picture picture, DecodePicture(bytes));
//   ResizeAndCrop(picture, /*resize=*/256, /*crop=*/224, /*channels=*/3, out);
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> pixels;  // [height, width, 3]: red, green, blue
  // How the picture is to be turned to stand upright, as its EXIF data say (the tag Orientation, 1 to 8): see
  // TurnUpright. 1: it stands already, or they do not say.
  int orientation = 1;
  bool exif_damaged = false;  // there are EXIF data, which cannot be read as far as the orientation
  bool deep_grey = false;     // a PNG of grey samples of 16 bits
};

// Decodes a JPEG (grey, colour, CMYK) or PNG (any kind) by its first bytes, to the pixels of Pillow's
// Image.open(file).convert("RGB"), which are those of torchvision:
//
// - Samples are taken as they are stored: no gamma, no white point and no colour profile (gAMA, cHRM, sRGB, iCCP, cICP)
//   is applied.
// - Alpha is dropped, from whole pictures, palettes and single transparent colours alike: what is transparent shows the
//   colour that is stored there.
// - Of samples of 16 bits the upper eight are taken. Pillow does the same, except for grey without alpha (`deep_grey`),
//   where it makes all above 255 white.
// - CMYK is taken to be inverted, as Adobe's programs store it.
// - An orientation in EXIF data is not applied.
//
// Errors, InvalidArgument: neither of the two, damaged or truncated (a picture that would only partly decode is none),
// more than 2^28 pixels. Room is made only for what so long a file can hold.
absl::StatusOr<Picture> DecodePicture(absl::string_view bytes);

// Turns and mirrors the picture as `orientation` says, which is 1 afterwards; as Pillow's ImageOps.exif_transpose.
void TurnUpright(Picture& picture);

// Scales the picture so that its shorter side has `resize` pixels, and writes the middle `crop` x `crop` pixels of that
// (crop <= resize) to `out` as [channels, crop, crop]; with one channel as luma, (299 R + 587 G + 114 B) / 1000.
//
// Each pixel is the mean over the area that it covers in the picture, in exact integer arithmetic, rounded to the
// nearest (halves up). So shrinking by a whole number averages squares, and enlarging repeats pixels, mixed only where
// one straddles two. The longer side is rounded to whole pixels; an odd margin's larger part is right and below.
void ResizeAndCrop(const Picture& picture, int64_t resize, int64_t crop, int64_t channels, uint8_t* out);

}  // namespace prunelab
