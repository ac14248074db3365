// Reads arbitrary bytes as a JPEG or PNG: they are refused, or decoded to as many pixels as the sizes say.
#include "ml/base/check.h"
#include "ml/data/picture.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  absl::StatusOr<prunelab::Picture> picture = prunelab::DecodePicture({reinterpret_cast<const char*>(data), size});
  if (!picture.ok()) return 0;
  PRUNELAB_CHECK(picture->height > 0 && picture->width > 0);
  PRUNELAB_CHECK(static_cast<int64_t>(picture->pixels.size()) == 3 * picture->height * picture->width);
  PRUNELAB_CHECK(picture->orientation >= 1 && picture->orientation <= 8);
  prunelab::TurnUpright(*picture);
  PRUNELAB_CHECK(static_cast<int64_t>(picture->pixels.size()) == 3 * picture->height * picture->width);
  // Very long or flat pictures are scaled to a size that takes too long for a fuzzer.
  if (picture->height > 64 * picture->width || picture->width > 64 * picture->height) return 0;
  uint8_t out[3 * 5 * 5];
  prunelab::ResizeAndCrop(*picture, 7, 5, 3, out);
  prunelab::ResizeAndCrop(*picture, 5, 5, 1, out);
  return 0;
}
