"""Writes ml/data/picture_transforms_values.h: what Pillow and torchvision make of pictures.

    python3 tools/reference/picture_transforms_values.py > ml/data/picture_transforms_values.h

Needs torch, torchvision, numpy and Pillow 11.3, which scales along rows first. Pillow 13 begins with columns where that costs
less, and some of its values are one higher or lower then.
"""

import hashlib

import numpy
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms import functional as F


def pixels(height, width, channels):
    """The picture that picture_transforms_test.cc makes of these numbers."""
    i = numpy.arange(height * width * channels, dtype=numpy.int64)
    values = (i * i * 31 + i * 17 + (i >> 5) * 101) % 256
    smooth = (i * 255) // max(1, height * width * channels - 1)
    return ((values + 3 * smooth) // 4).astype(numpy.uint8).reshape(height, width, channels)


def picture(height, width, channels):
    values = pixels(height, width, channels)
    return Image.fromarray(values[:, :, 0] if channels == 1 else values)


def digest(image):
    return hashlib.sha256(numpy.asarray(image).tobytes()).hexdigest()


def resizes():
    yield from [(6, 5, 1), (1, 1, 3), (1, 9, 3), (17, 3, 3), (40, 60, 3), (375, 500, 3), (64, 48, 1)]


print("// Written by tools/reference/picture_transforms_values.py.")
print(f"// torchvision {torchvision.__version__.split('+')[0]}, Pillow {PIL.__version__}")
print("#pragma once\n\n#include <cstdint>\n#include <vector>\n\nnamespace prunelab {\n")
print("// Image.crop(box).resize(...) by BILINEAR; SHA-256 of the pixels.")
print("struct ResizeValue {\n  int64_t height, width, channels;\n  int64_t top, left, box_height, box_width;\n"
      "  int64_t out_height, out_width;\n  const char* digest;\n};")
print("inline const std::vector<ResizeValue>& ResizeValues() {\n  static const auto* values = new std::vector<ResizeValue>{")
for height, width, channels in resizes():
    image = picture(height, width, channels)
    boxes = {(0, 0, height, width), (height // 3, width // 4, max(1, height // 2), max(1, width // 3))}
    for top, left, h, w in sorted(boxes):
        for out_height, out_width in [(1, 1), (7, 7), (h, w), (224, 224), (33, 10)]:
            out = image.crop((left, top, left + w, top + h)).resize((out_width, out_height), Image.BILINEAR)
            print(f"      {{{height}, {width}, {channels}, {top}, {left}, {h}, {w}, {out_height}, {out_width},\n"
                  f"       \"{digest(out)}\"}},")
print("  };\n  return *values;\n}\n")

print("// Resize(resize), then CenterCrop(crop).")
print("struct CenterValue {\n  int64_t height, width, channels, resize, crop;\n  const char* digest;\n};")
print("inline const std::vector<CenterValue>& CenterValues() {\n  static const auto* values = new std::vector<CenterValue>{")
for height, width, channels, resize, crop in [(375, 500, 3, 256, 224), (500, 375, 3, 256, 224), (37, 53, 3, 20, 20),
                                              (37, 53, 3, 21, 10), (53, 37, 1, 40, 33), (10, 10, 3, 10, 3),
                                              (9, 200, 3, 32, 32), (100, 101, 3, 50, 47), (3, 2, 3, 224, 1)]:
    out = F.center_crop(F.resize(picture(height, width, channels), resize), crop)
    print(f"      {{{height}, {width}, {channels}, {resize}, {crop},\n       \"{digest(out)}\"}},")
print("  };\n  return *values;\n}\n")

print("// adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue: kind 0 to 3.")
print("struct ColorValue {\n  int64_t height, width;\n  int kind;\n  double amount;\n  const char* digest;\n};")
print("inline const std::vector<ColorValue>& ColorValues() {\n  static const auto* values = new std::vector<ColorValue>{")
adjust = [F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue]
for height, width in [(1, 1), (31, 40), (200, 150)]:
    for kind, amounts in enumerate([[0, 0.3, 0.75, 1, 1.4, 3]] * 3 + [[-0.5, -0.2, -0.001, 0, 0.05, 0.1, 0.37, 0.5]]):
        for amount in amounts:
            print(f"      {{{height}, {width}, {kind}, {amount},\n"
                  f"       \"{digest(adjust[kind](picture(height, width, 3), amount))}\"}},")
print("  };\n  return *values;\n}\n")

print("// Deciles of RandomResizedCrop.get_params in 100,000 draws: area / picture, width / height, and where the box is of\n"
      "// the places that it could have.")
print("struct CropValue {\n  int64_t height, width;\n  double least_area, most_area, least_ratio, most_ratio;\n"
      "  std::vector<double> areas, ratios, tops, lefts;\n};")
print("inline const std::vector<CropValue>& CropValues() {\n  static const auto* values = new std::vector<CropValue>{")
torch.manual_seed(1)
for height, width, scale, ratio in [(375, 500, (0.08, 1.0), (3 / 4, 4 / 3)), (500, 375, (0.35, 1.0), (3 / 4, 4 / 3)),
                                    (60, 300, (0.5, 1.0), (3 / 4, 4 / 3)), (300, 60, (0.08, 1.0), (0.5, 2.0))]:
    image = torch.empty(1, height, width, dtype=torch.uint8)
    draws = numpy.array([RandomResizedCrop.get_params(image, scale, ratio) for _ in range(100000)], dtype=float)
    top, left, h, w = draws.T

    def place(at, room):
        """Uniform in [0, 1) if `at` is uniform in {0, ..., room}."""
        return (at + numpy.random.default_rng(7).random(len(at))) / (room + 1)

    print(f"      {{{height}, {width}, {scale[0]!r}, {scale[1]!r}, {ratio[0]!r}, {ratio[1]!r},")
    rows = [h * w / (height * width), w / h, place(top, height - h), place(left, width - w)]
    for row in rows:
        deciles = numpy.quantile(row, numpy.arange(1, 10) / 10)
        print("       {" + ", ".join(f"{d:.4f}" for d in deciles) + "},")
    print("      },")
print("  };\n  return *values;\n}\n")
print("}  // namespace prunelab")
