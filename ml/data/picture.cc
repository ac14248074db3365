#include "ml/data/picture.h"

#include <jerror.h>   // NOLINT: after <cstdio>
#include <jpeglib.h>  // NOLINT: after <cstdio>
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstdio>  // before jpeglib.h, which needs FILE
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;
constexpr int64_t kLeastRoom = int64_t{1} << 20;  // bytes that are asked for at first
constexpr int kChannels = 3;

absl::Status CheckSize(uint64_t height, uint64_t width) {
  if (height >= 1 && width >= 1 && height * width <= static_cast<uint64_t>(kMostPixels)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("says it has ", width, "x", height, " pixels; must be at most ", kMostPixels, " in all"));
}

absl::Status TooShort(absl::string_view kind, absl::string_view bytes, int64_t height, int64_t width) {
  return absl::InvalidArgumentError(absl::StrCat("is a ", kind, " that does not decode: its ", bytes.size(),
                                                 " bytes cannot hold ", width, "x", height, " pixels"));
}

// libjpeg reports through its own structure, of which this is an extension.
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

// Warnings are of data that do not decode, or of oddities that do no harm. The former end the decoding: the library
// would fill what is missing with grey, which for a short file that says it is large takes long.
void OnMessage(j_common_ptr jpeg, int level) {
  if (level >= 0) return;
  const int code = jpeg->err->msg_code;
  if (code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR ||
      code == JWRN_BOGUS_PROGRESSION) {
    return;
  }
  OnError(jpeg);
}

// Holds no object with a destructor, since errors jump out of it. Fills `size`, then calls back for the room.
// Returns false with `errors->message` set.
bool DecodeJpegRows(absl::string_view bytes, JpegErrors* errors, Picture* picture, bool* too_large, bool* too_short) {
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
  jpeg_read_header(&jpeg, TRUE);
  picture->height = jpeg.image_height;
  picture->width = jpeg.image_width;
  if (picture->height * picture->width > kMostPixels) {
    *too_large = true;
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  // Huffman codes take a bit at least for each block of 64 values, and the sparsest sampling has 8 blocks in 1,024
  // pixels. Arithmetic coding has no such limit: there it is what no picture comes near.
  const int64_t most_of_a_byte = jpeg.arith_code ? 65536 : 1024;
  if (picture->height * picture->width > most_of_a_byte * static_cast<int64_t>(bytes.size())) {
    *too_short = true;
    jpeg_destroy_decompress(&jpeg);
    return false;
  }
  const bool four = jpeg.jpeg_color_space == JCS_CMYK || jpeg.jpeg_color_space == JCS_YCCK;
  jpeg.out_color_space = four ? JCS_CMYK : JCS_RGB;
  jpeg_start_decompress(&jpeg);
  const int64_t row_bytes = picture->width * jpeg.output_components;
  const int64_t all_bytes = picture->height * row_bytes;
  while (jpeg.output_scanline < jpeg.output_height) {
    // Room is made as rows come: there may be fewer than the header says.
    const int64_t needed = (jpeg.output_scanline + 1) * row_bytes, room = static_cast<int64_t>(picture->pixels.size());
    if (room < needed) picture->pixels.resize(std::min(all_bytes, std::max({needed, 2 * room, kLeastRoom})));
    JSAMPROW row = picture->pixels.data() + jpeg.output_scanline * row_bytes;
    jpeg_read_scanlines(&jpeg, &row, 1);
  }
  if (four) {
    // Adobe's programs store ink inverted, as 255 less it. Rows shrink from four bytes a pixel to three in place.
    const bool inverted = jpeg.saw_Adobe_marker != 0;
    const uint8_t* in = picture->pixels.data();
    uint8_t* out = picture->pixels.data();
    for (int64_t i = 0; i < picture->height * picture->width; ++i, in += 4, out += kChannels) {
      const int black = inverted ? in[3] : 255 - in[3];
      for (int c = 0; c < kChannels; ++c) {
        out[c] = static_cast<uint8_t>(((inverted ? in[c] : 255 - in[c]) * black + 127) / 255);
      }
    }
    picture->pixels.resize(picture->height * picture->width * kChannels);
  }
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return true;
}

absl::StatusOr<Picture> DecodeJpeg(absl::string_view bytes) {
  Picture picture;
  JpegErrors errors;
  errors.message[0] = '\0';
  bool too_large = false, too_short = false;
  if (DecodeJpegRows(bytes, &errors, &picture, &too_large, &too_short)) return picture;
  if (too_large) return CheckSize(picture.height, picture.width);
  if (too_short) return TooShort("JPEG", bytes, picture.height, picture.width);
  return absl::InvalidArgumentError(absl::StrCat("is a JPEG that does not decode: ", errors.message));
}

// Whether so short a file can hold so many pixels: the compression that it uses makes at most 1,032 bytes of one.
bool MayHoldRows(absl::string_view png, int64_t height, int64_t width) {
  constexpr int64_t kMostOfAByte = 1032;
  // The header is the first chunk: after 8 + 8 bytes width and height, then a sample's bits and the kind of colour.
  PRUNELAB_CHECK(png.size() > 25);
  const int64_t bits = png[24], kind = png[25];
  const int64_t samples = kind == PNG_COLOR_TYPE_RGB          ? 3
                          : kind == PNG_COLOR_TYPE_RGB_ALPHA  ? 4
                          : kind == PNG_COLOR_TYPE_GRAY_ALPHA ? 2
                                                              : 1;
  const int64_t row_bytes = (width * samples * bits + 7) / 8 + 1;
  return row_bytes * height <= kMostOfAByte * static_cast<int64_t>(png.size());
}

absl::StatusOr<Picture> DecodePng(absl::string_view bytes) {
  png_image image;
  std::memset(&image, 0, sizeof(image));
  image.version = PNG_IMAGE_VERSION;
  const auto refuse = [&image] {
    const absl::Status status =
        absl::InvalidArgumentError(absl::StrCat("is a PNG that does not decode: ", image.message));
    png_image_free(&image);
    return status;
  };
  if (png_image_begin_read_from_memory(&image, bytes.data(), bytes.size()) == 0) return refuse();
  const absl::Status size = CheckSize(image.height, image.width);
  if (!size.ok()) {
    png_image_free(&image);
    return size;
  }
  if (!MayHoldRows(bytes, image.height, image.width)) {
    png_image_free(&image);
    return TooShort("PNG", bytes, image.height, image.width);
  }
  image.format = PNG_FORMAT_RGB;
  // Sixteen bits a channel are the same scale as eight, only finer, unless the file says otherwise.
  image.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  Picture picture;
  picture.height = image.height;
  picture.width = image.width;
  picture.pixels.assign(picture.height * picture.width * kChannels, 0);  // shows where the picture is transparent
  if (png_image_finish_read(&image, nullptr, picture.pixels.data(), 0, nullptr) == 0) return refuse();
  return picture;
}

// How an output pixel is made of input pixels along one axis: in units of 1 / `out` of an input pixel, output pixel i
// covers [i * in, (i + 1) * in) and input pixel j [j * out, (j + 1) * out). The weights of each output pixel sum to
// `in`.
struct AxisWeights {
  struct Span {
    int64_t first = 0;              // input pixel
    std::vector<int64_t> overlaps;  // of the input pixels from `first` on
  };
  std::vector<Span> spans;  // of output pixels `from` to `from + count`
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

absl::StatusOr<Picture> DecodePicture(absl::string_view bytes) {
  if (bytes.empty()) return absl::InvalidArgumentError("is empty");
  if (absl::StartsWith(bytes, "\xFF\xD8")) return DecodeJpeg(bytes);
  if (absl::StartsWith(bytes, "\x89PNG\r\n\x1a\n")) return DecodePng(bytes);
  const bool page = absl::StartsWith(bytes, "<");
  return absl::InvalidArgumentError(
      absl::StrCat("is neither JPEG nor PNG", page ? ", but looks like a web page" : "", ", by its first bytes"));
}

void ResizeAndCrop(const Picture& picture, int64_t resize, int64_t crop, int64_t channels, uint8_t* out) {
  PRUNELAB_CHECK(crop >= 1 && crop <= resize && (channels == 1 || channels == kChannels));
  const int64_t shorter = std::min(picture.height, picture.width);
  const int64_t height = std::max(resize, (picture.height * resize * 2 + shorter) / (2 * shorter));
  const int64_t width = std::max(resize, (picture.width * resize * 2 + shorter) / (2 * shorter));
  const AxisWeights rows = WeightsOf(picture.height, height, (height - crop) / 2, crop);
  const AxisWeights columns = WeightsOf(picture.width, width, (width - crop) / 2, crop);
  const int64_t area = picture.height * picture.width;  // what the weights of an output pixel sum to
  const int64_t first_row = rows.spans.front().first;
  const int64_t last_row = rows.spans.back().first + static_cast<int64_t>(rows.spans.back().overlaps.size());
  // Each input row that is needed, scaled along the columns: [rows, crop, 3]. Sums are at most 255 * width.
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
