#include "ml/data/picture.h"

#include <jerror.h>   // NOLINT: after <cstdio>
#include <jpeglib.h>  // NOLINT: after <cstdio>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // before jpeglib.h, which needs FILE
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;
constexpr int64_t kLeastRoom = int64_t{1} << 20;  // bytes that are allocated at first
constexpr int kChannels = 3;

absl::Status CheckSize(uint64_t height, uint64_t width) {
  if (height >= 1 && width >= 1 && height * width <= static_cast<uint64_t>(kMostPixels)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("says it has ", width, "x", height, " pixels; must be at most ", kMostPixels, " in all"));
}

// EXIF data are a TIFF file without an image: "II" (little endian) or "MM" (big endian), 42, and the offset of a
// directory with entries of 12 bytes. One of these is Orientation.
void ReadExif(absl::string_view exif, Picture* picture) {
  constexpr int kOrientation = 0x0112, kByte = 1, kShort = 3, kLong = 4;
  for (int i = 0; i < 2; ++i) absl::ConsumePrefix(&exif, absl::string_view("Exif\0\0", 6));  // some write it twice
  const bool little = absl::StartsWith(exif, "II");
  const auto number = [&](size_t at, int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; ++i) {
      value = value << 8 | static_cast<uint8_t>(exif[at + (little ? size - 1 - i : i)]);
    }
    return value;
  };
  picture->exif_damaged = true;  // until the orientation or the end of the directory is found
  if (exif.size() < 8 || !(little || absl::StartsWith(exif, "MM"))) return;
  // Programs that mix up the byte order write 42 << 8.
  if (number(2, 2) != 42 && number(2, 2) != 42 << 8) return;
  const size_t directory = number(4, 4);
  if (directory + 2 > exif.size()) return;
  const size_t entries = number(directory, 2);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    if (entry + 12 > exif.size()) return;
    if (number(entry, 2) != kOrientation) continue;
    const uint64_t type = number(entry + 2, 2);
    const int size = type == kByte ? 1 : type == kShort ? 2 : type == kLong ? 4 : 0;
    const uint64_t value = size > 0 && number(entry + 4, 4) == 1 ? number(entry + 8, size) : 9;
    if (value > 8) return;
    picture->orientation = value == 0 ? 1 : static_cast<int>(value);  // some cameras write 0 for unknown
    picture->exif_damaged = false;
  }
  picture->exif_damaged = false;
}

absl::Status TooShort(absl::string_view kind, absl::string_view bytes, int64_t height, int64_t width) {
  return absl::InvalidArgumentError(absl::StrCat("is a ", kind, " that does not decode: its ", bytes.size(),
                                                 " bytes cannot hold ", width, "x", height, " pixels"));
}

// libjpeg reports errors through its own structure, which this one extends.
struct JpegErrors {
  jpeg_error_mgr base;
  std::jmp_buf escape;
  char message[JMSG_LENGTH_MAX];
};

void OnError(j_common_ptr jpeg) {
  auto* errors = reinterpret_cast<JpegErrors*>(jpeg->err);
  jpeg->err->format_message(jpeg, errors->message);
  std::longjmp(errors->escape, 1);
}

// Warnings are about data that cannot be decoded, or about harmless oddities. The former end the decoding: the library
// would fill in grey, which takes long for a short file that claims to be large.
void OnMessage(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  const int code = jpeg->err->msg_code;
  if (code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
      code == JWRN_BOGUS_PROGRESSION || code == JWRN_NOT_SEQUENTIAL) {
    return;
  }
  OnError(jpeg);
}

// Contains no object with a destructor, because errors jump out of it. Returns false with `errors->message` set.
bool DecodeJpegRows(absl::string_view bytes, int64_t least_shorter_side, JpegErrors* errors, Picture* picture,
                    std::string* exif, bool* too_large, bool* too_short) {
  jpeg_decompress_struct jpeg;
  std::memset(&jpeg, 0, sizeof(jpeg));
  jpeg.err = jpeg_std_error(&errors->base);
  errors->base.error_exit = &OnError;
  errors->base.emit_message = &OnMessage;
  if (setjmp(errors->escape) != 0) {
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size());
  jpeg_save_markers(&jpeg, JPEG_APP0 + 1, 0xFFFF);
  jpeg_read_header(&jpeg, TRUE);
  for (jpeg_saved_marker_ptr marker = jpeg.marker_list; marker != nullptr; marker = marker->next) {
    constexpr size_t kNameBytes = 6;
    if (marker->data_length < kNameBytes || std::memcmp(marker->data, "Exif\0\0", kNameBytes) != 0) continue;
    // More than 64 kilobytes come in several markers.
    exif->append(reinterpret_cast<const char*>(marker->data) + kNameBytes, marker->data_length - kNameBytes);
  }
  picture->height = jpeg.image_height;
  picture->width = jpeg.image_width;
  if (picture->height * picture->width > kMostPixels) {
    *too_large = true;
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  // Huffman codes take at least one bit for each block of 64 values, and the sparsest sampling has 8 blocks in 1,024
  // pixels. Arithmetic coding has no such limit; there the limit is one that no real picture comes near.
  const int64_t most_of_a_byte = jpeg.arith_code ? 65536 : 1024;
  if (picture->height * picture->width > most_of_a_byte * static_cast<int64_t>(bytes.size())) {
    *too_short = true;
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  const bool four = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  jpeg.out_color_space = four ? JCS_CMYK : JCS_RGB;
  if (least_shorter_side > 0) {
    constexpr int kEighths = 8;
    const int64_t shorter = std::min(picture->height, picture->width);
    int eighths = 1;
    while (eighths < kEighths && (shorter * eighths + kEighths - 1) / kEighths < least_shorter_side) ++eighths;
    jpeg.scale_num = eighths;
    jpeg.scale_denom = kEighths;
  }
  jpeg_start_decompress(&jpeg);
  picture->height = jpeg.output_height;
  picture->width = jpeg.output_width;
  const int64_t row_bytes = picture->width * jpeg.output_components;
  const int64_t all_bytes = picture->height * row_bytes;
  while (jpeg.output_scanline < jpeg.output_height) {
    // Memory is allocated as rows arrive: there may be fewer than the header says.
    const int64_t needed = (jpeg.output_scanline + 1) * row_bytes, room = static_cast<int64_t>(picture->pixels.size());
    if (room < needed) picture->pixels.resize(std::min(all_bytes, std::max({needed, 2 * room, kLeastRoom})));
    JSAMPROW row = picture->pixels.data() + jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  if (four) {
    // Ink is stored inverted, as 255 minus the value. All programs write it like Adobe's, whether or not they leave its
    // marker. Rows shrink in place from four bytes per pixel to three.
    const uint8_t* in = picture->pixels.data();
    uint8_t* out = picture->pixels.data();
    for (int64_t i = 0; i < picture->height * picture->width; ++i, in += 4, out += kChannels) {
      const int black = in[3];
      for (int c = 0; c < kChannels; ++c) out[c] = static_cast<uint8_t>((in[c] * black + 127) / 255);
    }
    picture->pixels.resize(picture->height * picture->width * kChannels);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return true;
}

absl::StatusOr<Picture> DecodeJpeg(absl::string_view bytes, int64_t least_shorter_side) {
  Picture picture;
  JpegErrors errors;
  errors.message[0] = '\0';
  std::string exif;
  bool too_large = false, too_short = false;
  if (DecodeJpegRows(bytes, least_shorter_side, &errors, &picture, &exif, &too_large, &too_short)) {
    if (!exif.empty()) ReadExif(exif, &picture);
    return picture;
  }
  if (too_large) return CheckSize(picture.height, picture.width);
  if (too_short) return TooShort("JPEG", bytes, picture.height, picture.width);
  return absl::InvalidArgumentError(absl::StrCat("is a JPEG that does not decode: ", errors.message));
}

// Whether such a short file can contain so many pixels: PNG's compression makes at most 1,032 bytes out of one.
bool MayHoldRows(absl::string_view png, int64_t height, int64_t width) {
  constexpr int64_t kMostOfAByte = 1032;
  // The header is the first chunk: after 8 + 8 bytes come width and height, then the bits per sample and the kind of
  // colour.
  PRUNELAB_CHECK(png.size() > 25);
  const int64_t bits = png[24], kind = png[25];
  const int64_t samples = kind == PNG_COLOR_TYPE_RGB          ? 3
                          : kind == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
                          : kind == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                              : 1;
  const int64_t row_bytes = (width * samples * bits + 7) / 8 + 1;
  return row_bytes * height <= kMostOfAByte * static_cast<int64_t>(png.size());
}

// The data that libpng's callbacks use.
struct PngRead {
  absl::string_view rest;
  char message[256] = "";
  bool too_large = false, too_short = false, no_such_colour = false;
};

void OnPngError(png_structp png, png_const_charp message) {
  auto* read = static_cast<PngRead*>(png_get_error_ptr(png));
  std::snprintf(read->message, sizeof(read->message), "%s", message);
  png_longjmp(png, 1);
}

void OnPngWarning(png_structp, png_const_charp) {}

void OnPngBytes(png_structp png, png_bytep out, size_t count) {
  auto* read = static_cast<PngRead*>(png_get_io_ptr(png));
  if (read->rest.size() < count) png_error(png, "the file ends too early");
  std::memcpy(out, read->rest.data(), count);
  read->rest.remove_prefix(count);
}

// Replaces palette entries by their colours, row by row. False if an entry does not exist.
bool FillInPalette(png_structp png, png_infop info, Picture* picture) {
  png_colorp colours = nullptr;
  int count = 0;
  png_get_PLTE(png, info, &colours, &count);
  uint8_t* pixels = picture->pixels.data();
  for (int64_t i = picture->height * picture->width - 1; i >= 0; --i) {  // in place, so from the end
    const int entry = pixels[i];
    if (entry >= count) return false;
    pixels[kChannels * i] = colours[entry].red;
    pixels[kChannels * i + 1] = colours[entry].green;
    pixels[kChannels * i + 2] = colours[entry].blue;
  }
  return true;
}

// Contains no object with a destructor, because errors jump out of it.
bool ReadPngRows(absl::string_view bytes, png_structp png, png_infop info, PngRead* read, Picture* picture) {
  png_set_read_fn(png, read, &OnPngBytes);
  // Only the pixels matter: not gamma and profiles, and not whether the chunks with these are well formed.
  png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, nullptr, -1);
  png_set_benign_errors(png, 1);
  png_read_info(png, info);
  picture->height = png_get_image_height(png, info);
  picture->width = png_get_image_width(png, info);
  read->too_large = picture->height * picture->width > kMostPixels;
  read->too_short = !read->too_large && !MayHoldRows(bytes, picture->height, picture->width);
  if (read->too_large || read->too_short) return false;
  const bool palette = png_get_color_type(png, info) == PNG_COLOR_TYPE_PALETTE;
  picture->deep_grey = png_get_color_type(png, info) == PNG_COLOR_TYPE_GRAY && png_get_bit_depth(png, info) == 16;
  if (palette) {
    png_set_packing(png);  // one entry per byte
  } else {
    png_set_expand_gray_1_2_4_to_8(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    png_set_gray_to_rgb(png);
  }
  const int passes = png_set_interlace_handling(png);
  png_read_update_info(png, info);
  const int64_t row_bytes = picture->width * (palette ? 1 : kChannels);
  PRUNELAB_CHECK(static_cast<int64_t>(png_get_rowbytes(png, info)) == row_bytes);
  picture->pixels.resize(picture->height * picture->width * kChannels);
  for (int pass = 0; pass < passes; ++pass) {
    for (int64_t y = 0; y < picture->height; ++y) {
      png_read_row(png, picture->pixels.data() + y * row_bytes, nullptr);
    }
  }
  read->no_such_colour = palette && !FillInPalette(png, info, picture);
  return !read->no_such_colour;
}

// The content of the last chunk of this kind, or "". A chunk consists of its content's length, its kind, the content,
// and a checksum.
absl::string_view PngChunk(absl::string_view png, absl::string_view kind) {
  absl::string_view found;
  size_t at = 8;
  while (png.size() - at >= 12) {
    uint64_t length = 0;
    for (int i = 0; i < 4; ++i) length = length << 8 | static_cast<uint8_t>(png[at + i]);
    if (length > png.size() - at - 12) break;
    if (png.substr(at + 4, 4) == kind) found = png.substr(at + 8, length);
    at += 12 + length;
  }
  return found;
}

absl::StatusOr<Picture> DecodePng(absl::string_view bytes) {
  Picture picture;
  PngRead read;
  read.rest = bytes;
  png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &read, &OnPngError, &OnPngWarning);
  PRUNELAB_CHECK(png != nullptr) << "libpng and its header have different versions";
  png_infop info = png_create_info_struct(png);
  PRUNELAB_CHECK(info != nullptr);
  const bool decoded = setjmp(png_jmpbuf(png)) == 0 && ReadPngRows(bytes, png, info, &read, &picture);
  png_destroy_read_struct(&png, &info, nullptr);
  if (read.too_large) return CheckSize(picture.height, picture.width);
  if (read.too_short) return TooShort("PNG", bytes, picture.height, picture.width);
  if (read.no_such_colour) {
    return absl::InvalidArgumentError("is a PNG that does not decode: it uses colours that its palette does not have");
  }
  if (!decoded) return absl::InvalidArgumentError(absl::StrCat("is a PNG that does not decode: ", read.message));
  const absl::string_view exif = PngChunk(bytes, "eXIf");
  if (!exif.empty()) ReadExif(exif, &picture);
  return picture;
}

// What a file that is neither JPEG nor PNG is, by its first bytes, in words that people use.
absl::string_view KindOf(absl::string_view bytes) {
  const absl::string_view brand = bytes.size() >= 12 ? bytes.substr(8, 4) : "";
  absl::string_view text = bytes.substr(0, 64);
  absl::ConsumePrefix(&text, "\xEF\xBB\xBF");  // a byte order mark
  if (absl::StartsWith(absl::StripLeadingAsciiWhitespace(text), "<")) return "a web page";
  if (absl::StartsWith(bytes, "version https://git-lfs")) return "what Git LFS leaves in a file's place (git lfs pull)";
  if (absl::StartsWith(bytes, "RIFF") && brand == "WEBP") return "a WebP picture";
  if (absl::StartsWith(bytes, "GIF8")) return "a GIF picture";
  if (absl::StartsWith(bytes, "P6\n") || absl::StartsWith(bytes, "P5\n")) return "a PPM or PGM picture";
  if (absl::StartsWith(bytes, absl::string_view("\0\0\0\x0CjP  ", 8))) return "a JPEG 2000 picture";
  if (absl::StartsWith(bytes, "BM")) return "a BMP picture";
  if (absl::StartsWith(bytes, absl::string_view("II*\0", 4)) ||
      absl::StartsWith(bytes, absl::string_view("MM\0*", 4))) {
    return "a TIFF picture";
  }
  if (bytes.size() >= 12 && bytes.substr(4, 4) == "ftyp") {
    return absl::StartsWith(brand, "avi") ? "an AVIF picture" : "a HEIC picture or a film";
  }
  return "";
}

// How an output pixel is computed from input pixels along one axis. In units of 1 / `out` of an input pixel, output
// pixel i covers [i * in, (i + 1) * in) and input pixel j covers [j * out, (j + 1) * out). The weights of each output
// pixel add up to `in`.
struct AxisWeights {
  struct Span {
    int64_t first = 0;              // input pixel
    std::vector<int64_t> overlaps;  // one for each input pixel from `first` on
  };
  std::vector<Span> spans;  // for output pixels `from` to `from + count`
};

AxisWeights WeightsOf(int64_t in, int64_t out, int64_t from, int64_t count) {
  AxisWeights weights;
  for (int64_t i = from; i < from + count; ++i) {
    AxisWeights::Span span;
    span.first = i * in / out;
    for (int64_t j = span.first; j < in && j * out < (i + 1) * in; ++j) {
      span.overlaps.push_back(std::min((i + 1) * in, (j + 1) * out) - std::max(i * in, j * out));
    }
    weights.spans.push_back(std::move(span));
  }
  return weights;
}

}  // namespace

absl::StatusOr<Picture> DecodePicture(absl::string_view bytes, int64_t least_shorter_side) {
  if (bytes.empty()) return absl::InvalidArgumentError("is empty");
  if (absl::StartsWith(bytes, "\xFF\xD8")) return DecodeJpeg(bytes, least_shorter_side);
  if (absl::StartsWith(bytes, "\x89PNG\r\n\x1a\n")) return DecodePng(bytes);
  const absl::string_view kind = KindOf(bytes);
  return absl::InvalidArgumentError(absl::StrCat("is neither JPEG nor PNG, ", kind.empty() ? "" : "but looks like ",
                                                 kind, kind.empty() ? "" : ", ", "by its first bytes"));
}

std::string DecoderVersions() {
  // libjpeg-turbo's is that of its header; the library itself says none.
  return absl::StrCat("libjpeg-turbo ", LIBJPEG_TURBO_VERSION_NUMBER, ", libpng ", png_get_libpng_ver(nullptr));
}

void TurnUpright(Picture& picture) {
  const int orientation = picture.orientation;
  PRUNELAB_CHECK(orientation >= 1 && orientation <= 8);
  if (orientation == 1) return;
  // Where the pixel (x, y) of the result is in the stored picture.
  const bool swapped = orientation >= 5;  // rows become columns
  const bool from_the_right = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_below = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Picture upright;
  upright.height = swapped ? picture.width : picture.height;
  upright.width = swapped ? picture.height : picture.width;
  upright.pixels.resize(picture.pixels.size());
  uint8_t* out = upright.pixels.data();
  for (int64_t y = 0; y < upright.height; ++y) {
    for (int64_t x = 0; x < upright.width; ++x, out += kChannels) {
      int64_t row = swapped ? x : y, column = swapped ? y : x;
      if (from_below) row = picture.height - 1 - row;
      if (from_the_right) column = picture.width - 1 - column;
      std::memcpy(out, &picture.pixels[(row * picture.width + column) * kChannels], kChannels);
    }
  }
  picture.height = upright.height;
  picture.width = upright.width;
  picture.pixels = std::move(upright.pixels);
  picture.orientation = 1;
}

void ResizeAndCrop(const Picture& picture, int64_t resize, int64_t crop, int64_t channels, uint8_t* out) {
  PRUNELAB_CHECK(crop >= 1 && crop <= resize && (channels == 1 || channels == kChannels));
  const int64_t shorter = std::min(picture.height, picture.width);
  const int64_t height = std::max(resize, (picture.height * resize * 2 + shorter) / (2 * shorter));
  const int64_t width = std::max(resize, (picture.width * resize * 2 + shorter) / (2 * shorter));
  const AxisWeights rows = WeightsOf(picture.height, height, (height - crop) / 2, crop);
  const AxisWeights columns = WeightsOf(picture.width, width, (width - crop) / 2, crop);
  const int64_t area = picture.height * picture.width;  // the sum of an output pixel's weights
  const int64_t first_row = rows.spans.front().first;
  const int64_t last_row = rows.spans.back().first + static_cast<int64_t>(rows.spans.back().overlaps.size());
  // Each input row that is needed, scaled along its columns: [rows, crop, 3]. Sums are at most 255 * width.
  std::vector<int64_t> narrow((last_row - first_row) * crop * kChannels);
  for (int64_t y = first_row; y < last_row; ++y) {
    const uint8_t* source = picture.pixels.data() + y * picture.width * kChannels;
    int64_t* target = narrow.data() + (y - first_row) * crop * kChannels;
    for (const AxisWeights::Span& span : columns.spans) {
      const uint8_t* pixel = source + span.first * kChannels;
      int64_t sums[kChannels] = {};
      for (const int64_t weight : span.overlaps) {
        for (int c = 0; c < kChannels; ++c) sums[c] += weight * *pixel++;
      }
      target = std::copy(sums, sums + kChannels, target);
    }
  }
  std::vector<int64_t> sums(crop * kChannels);
  for (int64_t y = 0; y < crop; ++y) {
    const AxisWeights::Span& span = rows.spans[y];
    std::fill(sums.begin(), sums.end(), 0);
    const int64_t* row = narrow.data() + (span.first - first_row) * crop * kChannels;
    for (const int64_t weight : span.overlaps) {
      for (int64_t& sum : sums) sum += weight * *row++;
    }
    for (int64_t x = 0; x < crop; ++x) {
      const int64_t* sum = &sums[x * kChannels];
      if (channels == 1) {
        const int64_t luma = 299 * sum[0] + 587 * sum[1] + 114 * sum[2];
        out[y * crop + x] = static_cast<uint8_t>((luma + 500 * area) / (1000 * area));
        continue;
      }
      for (int c = 0; c < kChannels; ++c) {
        out[(c * crop + y) * crop + x] = static_cast<uint8_t>((2 * sum[c] + area) / (2 * area));
      }
    }
  }
}

}  // namespace prunelab
