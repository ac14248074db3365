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
};

// Decodes a JPEG (grey, colour, CMYK) or PNG (any kind; what is transparent becomes black) by its first bytes. An
// orientation noted in EXIF data is not applied. Errors, InvalidArgument: neither of the two, damaged or truncated (a
// picture that would only partly decode is none), more than 2^28 pixels. Room is made only for what so long a file can
// hold.
absl::StatusOr<Picture> DecodePicture(absl::string_view bytes);

// Scales the picture so that its shorter side has `resize` pixels, and writes the middle `crop` x `crop` pixels of that
// (crop <= resize) to `out` as [channels, crop, crop]; with one channel as luma, (299 R + 587 G + 114 B) / 1000.
//
// Each pixel is the mean over the area that it covers in the picture, in exact integer arithmetic, rounded to the
// nearest (halves up). So shrinking by a whole number averages squares, and enlarging repeats pixels, mixed only where
// one straddles two. The longer side is rounded to whole pixels; an odd margin's larger part is right and below.
void ResizeAndCrop(const Picture& picture, int64_t resize, int64_t crop, int64_t channels, uint8_t* out);

}  // namespace prunelab
