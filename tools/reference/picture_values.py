"""Writes ml/data/picture_values.h: small pictures of every kind, and their pixels as Pillow decodes them.

Usage: picture_values.py > ml/data/picture_values.h && clang-format -i ml/data/picture_values.h    (Pillow 13.0.0,
numpy)
"""

import io
import struct
import zlib

import numpy as np
import PIL
from PIL import Image, ImageCms, ImageOps

HEIGHT, WIDTH = 7, 9
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
ORIENTATION = 0x0112


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def rows(samples, bits):
    """PNG's rows: samples [height, width, channels] with `bits` bits each, and a filter of 0 before each row."""
    out = b""
    for row in samples.reshape(len(samples), -1):
        if bits == 16:
            data = row.astype(">u2").tobytes()
        elif bits == 8:
            data = row.astype(np.uint8).tobytes()
        else:
            ones = (row[:, None].astype(np.uint8) >> np.arange(bits)[::-1]) & 1
            data = np.packbits(ones.reshape(-1)).tobytes()
        out += b"\0" + data
    return out


def png(samples, bits, kind, chunks=(), interlaced=False):
    """A PNG file, written here because Pillow writes neither interlaced ones nor most with 16 bits."""
    samples = np.asarray(samples)
    if samples.ndim == 2:
        samples = samples[:, :, None]
    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, int(interlaced))
    data = b""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    for y, x, dy, dx in passes if interlaced else [(0, 0, 1, 1)]:
        part = samples[y::dy, x::dx]
        if part.size:
            data += rows(part, bits)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(chunk(*c) for c in chunks) +
            chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def exif(order, value, kind=3, count=1, magic=42):
    """EXIF data with a name of a camera's maker before the orientation: a SHORT, by the standard."""
    form = {1: "B3x", 3: "H2x", 4: "I"}[kind]
    entries = struct.pack(order + "HHI4s", 0x010F, 2, 4, b"abc\0")
    entries += struct.pack(order + "HHI" + form, ORIENTATION, kind, count, value)
    return ((b"II" if order == "<" else b"MM") + struct.pack(order + "HIH", magic, 8, 2) + entries +
            struct.pack(order + "I", 0))


def without_segment(jpeg, marker):
    at = jpeg.index(marker)
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]:]


def make_cases():
    corners = np.array([[[250, 20, 40], [10, 200, 90]], [[30, 60, 240], [220, 210, 10]]], np.uint8)
    picture = Image.fromarray(corners).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
    grey = picture.convert("L")
    rgb_samples, grey_samples = np.asarray(picture), np.asarray(grey)
    alpha = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH, 1) * 4
    # 16-bit samples whose lower eight bits differ from their upper eight.
    fine = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH, 1) * 37 % 256
    rgb16, grey16 = rgb_samples.astype(np.uint16) * 256 + fine, grey_samples[:, :, None].astype(np.uint16) * 256 + fine
    alpha16 = alpha.astype(np.uint16) * 256 + 255 - fine
    ink = np.asarray(picture.convert("CMYK")).copy()
    ink[:, :, 3] = (np.arange(HEIGHT * WIDTH) * 7 % 200).reshape(HEIGHT, WIDTH)
    cmyk = Image.fromarray(ink, "CMYK")
    cmyk_jpeg = saved(cmyk, "JPEG", quality=80)
    adobe = cmyk_jpeg.index(b"Adobe")
    ycck_jpeg = cmyk_jpeg[:adobe + 11] + b"\x02" + cmyk_jpeg[adobe + 12:]  # which changes the colours
    jpeg = saved(picture, "JPEG", quality=90)
    scan_end = jpeg.index(b"\xff\xda") + 2 + struct.unpack(">H", jpeg[jpeg.index(b"\xff\xda") + 2:][:2])[0] - 2
    assert jpeg[scan_end] == 63
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    gamma, linear = (b"gAMA", struct.pack(">I", 45455)), (b"gAMA", struct.pack(">I", 100000))
    white = (b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    p3_like = (b"cHRM", struct.pack(">8I", 34567, 35850, 73470, 26530, 11500, 82600, 15700, 1800))
    cases = [
        ("baseline JPEG, 4:2:0", saved(picture, "JPEG", quality=80)),
        ("baseline JPEG, 4:2:2, restart markers",
         saved(picture, "JPEG", quality=60, subsampling=1, restart_marker_blocks=1)),
        ("progressive JPEG, 4:4:4", saved(picture, "JPEG", quality=80, progressive=True, subsampling=0)),
        ("progressive JPEG, 4:2:0, with a profile",
         saved(picture, "JPEG", quality=70, progressive=True, icc_profile=profile)),
        ("grey JPEG", saved(grey, "JPEG", quality=80)),
        ("JPEG whose scan says it ends at the first coefficient, with bytes behind its end",
         jpeg[:scan_end] + b"\0" + jpeg[scan_end + 1:] + b"\0more"),
        ("JPEG of RGB", saved(picture, "JPEG", quality=80, keep_rgb=True)),
        ("CMYK JPEG", cmyk_jpeg),
        ("CMYK JPEG without Adobe's marker", without_segment(cmyk_jpeg, b"\xff\xee")),
        ("YCCK JPEG", ycck_jpeg),
        ("RGB PNG", saved(picture, "PNG")),
        ("PNG with a palette", saved(picture.quantize(8), "PNG")),
        ("PNG of one bit", saved(picture.convert("1"), "PNG")),
        ("grey PNG of two bits", png(grey_samples >> 6, 2, GREY)),
        ("grey PNG of four bits", png(grey_samples >> 4, 4, GREY)),
        ("grey PNG with alpha of 255", saved(picture.convert("LA"), "PNG")),
        ("grey PNG with alpha", png(np.concatenate([grey_samples[:, :, None], alpha], 2), 8, GREY_ALPHA)),
        ("RGB PNG with alpha", png(np.concatenate([rgb_samples, alpha], 2), 8, RGB_ALPHA)),
        ("grey PNG with a transparent level", png(grey_samples, 8, GREY, [(b"tRNS", struct.pack(">H", 76))])),
        ("RGB PNG with a transparent colour",
         png(rgb_samples, 8, RGB, [(b"tRNS", struct.pack(">3H", *rgb_samples[3, 4].tolist()))])),
    ]
    assert 76 in grey_samples
    for bits in (1, 2, 4, 8):
        many = 2 ** bits if bits < 8 else 200
        colours = (np.arange(3 * many) * 71 % 256).astype(np.uint8).tobytes()
        entries = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) * 5 % many
        half = (b"tRNS", bytes(i * 3 % 256 for i in range(many)))
        one = (b"tRNS", b"\xff" * (many - 1) + b"\0")
        cases.append((f"PNG with a palette of {bits} bits, transparent in parts",
                      png(entries, bits, PALETTE, [(b"PLTE", colours), half if bits in (1, 4) else one])))
    cases += [
        ("grey PNG of 16 bits", png(grey16, 16, GREY)),
        ("grey PNG of 16 bits with alpha", png(np.concatenate([grey16, alpha16], 2), 16, GREY_ALPHA)),
        ("RGB PNG of 16 bits", png(rgb16, 16, RGB)),
        ("RGB PNG of 16 bits with alpha", png(np.concatenate([rgb16, alpha16], 2), 16, RGB_ALPHA)),
        ("RGB PNG of 16 bits and gamma", png(rgb16, 16, RGB, [linear])),
        ("PNG with gamma of 1", png(rgb_samples, 8, RGB, [linear])),
        ("grey PNG with gamma of 1", png(grey_samples, 8, GREY, [linear])),
        ("PNG with gamma and a white point", png(rgb_samples, 8, RGB, [gamma, white])),
        ("PNG with gamma of 1 and other primaries", png(rgb_samples, 8, RGB, [linear, p3_like])),
        ("sRGB PNG", png(rgb_samples, 8, RGB, [(b"sRGB", b"\0"), gamma, white])),
        ("PNG with a profile", png(rgb_samples, 8, RGB, [(b"iCCP", b"xyz\0\0" + zlib.compress(profile))])),
        ("PNG with gamma and alpha", png(np.concatenate([rgb_samples, alpha], 2), 8, RGB_ALPHA, [linear])),
        ("PNG with significant bits and a background",
         png(rgb_samples, 8, RGB, [(b"sBIT", b"\5\6\5"), (b"bKGD", b"\0\1\0\2\0\3")])),
        ("interlaced RGB PNG", png(rgb_samples, 8, RGB, interlaced=True)),
        ("interlaced RGB PNG of 16 bits with alpha",
         png(np.concatenate([rgb16, alpha16], 2), 16, RGB_ALPHA, interlaced=True)),
        ("interlaced PNG of one bit", png(grey_samples >> 7, 1, GREY, interlaced=True)),
        ("interlaced PNG with a palette",
         png(grey_samples >> 6, 2, PALETTE, [(b"PLTE", bytes(range(10, 130, 10)))], interlaced=True)),
    ]
    for value in range(1, 9):
        order = "<" if value % 2 else ">"
        cases.append((f"PNG with orientation {value}", png(rgb_samples, 8, RGB, [(b"eXIf", exif(order, value))])))
    for order, value in (("<", 6), (">", 8)):
        cases.append((f"JPEG with orientation {value}", saved(grey, "JPEG", exif=b"Exif\0\0" + exif(order, value))))
    cases += [
        ("PNG with orientation 0", png(grey_samples, 8, GREY, [(b"eXIf", exif("<", 0))])),
        ("PNG with an orientation of four bytes", png(grey_samples, 8, GREY, [(b"eXIf", exif(">", 5, kind=4))])),
        ("PNG with EXIF named twice", png(grey_samples, 8, GREY, [(b"eXIf", b"Exif\0\0" + exif("<", 3))])),
        ("PNG with EXIF of mixed order", png(grey_samples, 8, GREY, [(b"eXIf", exif("<", 2, magic=42 << 8))])),
        ("PNG with EXIF behind the pixels", png(grey_samples, 8, GREY)[:-12] + chunk(b"eXIf", exif(">", 7)) +
         chunk(b"IEND", b"")),
    ]
    return cases


def hexadecimal(data, end):
    text = data.hex()
    lines = [text[i:i + 100] for i in range(0, len(text), 100)] or [""]
    print("\n".join(f'       "{line}"' for line in lines) + end)


def main():
    print(f"""// Made by tools/reference/picture_values.py with Pillow {PIL.__version__}.
#pragma once

#include <string>
#include <vector>

namespace prunelab {{

struct PictureValues {{
  const char* name;
  std::string file;     // in hexadecimal
  std::string pixels;   // of {HEIGHT} rows of {WIDTH}, red, green, blue, in hexadecimal
  int orientation;      // as EXIF data say
  std::string upright;  // pixels after turning; "" where the orientation is 1
}};

inline const std::vector<PictureValues>& PictureReference() {{
  static const auto* values = new std::vector<PictureValues>{{""")
    for name, file in make_cases():
        decoded = Image.open(io.BytesIO(file))
        pixels = np.asarray(decoded.convert("RGB"))
        if decoded.mode.startswith("I"):
            # Grey of 16 bits: Pillow turns everything above 255 white. The project uses the upper eight bits, as Pillow does
            # for other pictures of 16 bits.
            deep = np.asarray(decoded)
            assert (pixels == np.minimum(deep, 255)[:, :, None]).all()
            pixels = np.stack([deep >> 8] * 3, -1).astype(np.uint8)
        assert pixels.shape == (HEIGHT, WIDTH, 3)
        orientation = decoded.getexif().get(ORIENTATION, 1) or 1
        upright = np.asarray(ImageOps.exif_transpose(decoded).convert("RGB"))
        assert orientation != 1 or (upright == np.asarray(decoded.convert("RGB"))).all()
        print(f'      {{"{name}",')
        hexadecimal(file, ",")
        hexadecimal(pixels.tobytes(), ",")
        print(f"       {orientation},")
        hexadecimal(upright.tobytes() if orientation != 1 else b"", "},")
    print("""  };
  return *values;
}

}  // namespace prunelab""")


main()
