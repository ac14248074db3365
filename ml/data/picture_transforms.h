// What the standard recipes do to pictures of bytes: bilinear scaling, random resized crops, and changes of colour.
// Pixels are those of Pillow, which torchvision's transforms call, bit for bit; random choices have torchvision's
// distributions.
//
//   RandomStream stream(seed, "resized_crop", epoch, sample);
//   const PixelBox box = DrawCrop({}, height, width, stream);
//   ResizeBilinear(Cut(view, box), 224, 224, {0, 0, 224, 224}, out);
//
// torchvision: RandomResizedCrop, ColorJitter, Resize, CenterCrop (torchvision.transforms, 0.26). Pillow: Image.resize
// with BILINEAR (11.3, which always scales along rows first; 13.0 begins with columns where that costs less, and some
// values are one higher or lower then), ImageEnhance.Brightness, Contrast and Color, Image.convert("HSV").
#pragma once

#include <array>
#include <cstdint>

#include "ml/base/random.h"

namespace prunelab {

// Pixels in memory that another object owns: [height, width, channels], rows `row_bytes` apart.
struct PixelView {
  const uint8_t* pixels = nullptr;
  int64_t height = 0, width = 0, channels = 0;
  int64_t row_bytes = 0;
};

// A part of a picture: rows [top, top + height), columns [left, left + width).
struct PixelBox {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

// The part of the view; it must lie inside (checked).
PixelView Cut(const PixelView& view, const PixelBox& box);

// Scales the view to `height` x `width` pixels by a triangle filter, which is widened when it shrinks (antialiasing),
// and writes the part `wanted` of the result to `out` as [wanted.height, wanted.width, channels]. Pixels outside of the
// view do not take part.
void ResizeBilinear(const PixelView& view, int64_t height, int64_t width, const PixelBox& wanted, uint8_t* out);

// torchvision's Resize(resize) followed by CenterCrop(crop), crop <= resize: the shorter side gets `resize` pixels, the
// longer one its share rounded down. Writes [crop, crop, channels].
void ResizeAndCenterCrop(const PixelView& view, int64_t resize, int64_t crop, uint8_t* out);

// Luma as Pillow's convert("L"): (19595 R + 38470 G + 7471 B + 2^15) / 2^16, rounded down.
inline uint8_t Luma(const uint8_t* rgb) {
  return static_cast<uint8_t>((19595 * rgb[0] + 38470 * rgb[1] + 7471 * rgb[2] + 0x8000) >> 16);
}

// A part of the picture of random area and shape, at a random place.
struct RandomResizedCrop {
  double least_area = 0.08, most_area = 1;             // fractions of the picture's area
  double least_ratio = 3.0 / 4, most_ratio = 4.0 / 3;  // width / height
};

// Draws up to ten boxes, area uniformly and the ratio's logarithm uniformly, and takes the first that fits into the
// picture; where none fits, the largest box in the middle whose ratio is allowed.
PixelBox DrawCrop(const RandomResizedCrop& crop, int64_t height, int64_t width, RandomStream& stream);

// How much colours may change: a factor for each of the first three is drawn from [max(0, 1 - x), 1 + x], and the hue
// is turned by a fraction of the circle from [-hue, hue]. 0: not at all.
struct ColorJitter {
  double brightness = 0, contrast = 0, saturation = 0, hue = 0;
  bool changes() const { return brightness > 0 || contrast > 0 || saturation > 0 || hue > 0; }
};

// One draw of it.
struct ColorChange {
  enum Kind { kBrightness, kContrast, kSaturation, kHue };
  std::array<Kind, 4> order = {kBrightness, kContrast, kSaturation, kHue};
  std::array<double, 4> amounts = {1, 1, 1, 0};  // by kind
  std::array<bool, 4> applied = {};              // by kind
};
ColorChange DrawColorChange(const ColorJitter& jitter, RandomStream& stream);

// Changes `count` pixels, [count, 3], which are a whole picture: contrast is relative to its mean luma.
void ChangeColors(const ColorChange& change, int64_t count, uint8_t* pixels);

}  // namespace prunelab
