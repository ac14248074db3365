"""Writes ml/data/picture_values.h: small pictures as Pillow encodes them, and their pixels as Pillow decodes them.

Usage: picture_values.py > ml/data/picture_values.h    (Pillow 13.0.0, numpy)
"""

import io

import numpy as np
import PIL
from PIL import Image

HEIGHT, WIDTH = 7, 9


def main():
    corners = np.array([[[250, 20, 40], [10, 200, 90]], [[30, 60, 240], [220, 210, 10]]], np.uint8)
    picture = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grey = picture.convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    cases = [
        ("baseline JPEG, 4:2:0", picture, "JPEG", {"quality": 80}),
        ("progressive JPEG, 4:4:4", picture, "JPEG", {"quality": 80, "progressive": True, "subsampling": 0}),
        ("grey JPEG", grey, "JPEG", {"quality": 80}),
        ("CMYK JPEG", picture.convert("CMYK"), "JPEG", {"quality": 80}),
        ("RGB PNG", picture, "PNG", {}),
        ("PNG with a palette", picture.quantize(8), "PNG", {}),
        ("PNG of one bit", picture.convert("1"), "PNG", {}),
        ("grey PNG with alpha of 255", picture.convert("LA"), "PNG", {}),
        ("grey PNG of 16 bits", deep, "PNG", {}),
    ]
    print(f"""// Made by tools/reference/picture_values.py with Pillow {PIL.__version__}.
#pragma once

#include <string>
#include <vector>

namespace prunelab {{

struct PictureValues {{
  const char* name;
  std::string file;    // in hexadecimal
  std::string pixels;  // of {HEIGHT} rows of {WIDTH}, red, green, blue, in hexadecimal
}};

inline const std::vector<PictureValues>& PictureReference() {{
  static const auto* values = new std::vector<PictureValues>{{""")
    for name, image, kind, options in cases:
        out = io.BytesIO()
        image.save(out, kind, **options)
        decoded = Image.open(io.BytesIO(out.getvalue()))
        if decoded.mode.startswith("I"):  # 16 bits; the upper eight are the value, by the way it was made
            pixels = np.stack([np.asarray(decoded) // 257] * 3, -1).astype(np.uint8)
        else:
            pixels = np.asarray(decoded.convert("RGB"))
        print(f'      {{"{name}",')
        for data, end in ((out.getvalue().hex(), ","), (pixels.tobytes().hex(), "},")):
            lines = [data[i:i + 100] for i in range(0, len(data), 100)]
            print("\n".join(f'       "{line}"' for line in lines) + end)
    print("""  };
  return *values;
}

}  // namespace prunelab""")


main()
