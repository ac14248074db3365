#include "ml/data/testing/picture_fake.h"

#include <jpeglib.h>  // NOLINT: after <cstdio>
#include <png.h>

#include <cstdio>  // before jpeglib.h, which needs FILE
#include <cstdlib>
#include <cstring>

#include "ml/base/check.h"

namespace prunelab {

std::string EncodePng(int64_t height, int64_t width, int64_t channels, const std::vector<uint8_t>& pixels) {
  PRUNELAB_CHECK(static_cast<int64_t>(pixels.size()) == height * width * channels);
  png_image image;
  std::memset(&image, 0, sizeof(image));
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(width);
  image.height = static_cast<png_uint_32>(height);
  image.format = channels == 1   ? PNG_FORMAT_GRAY
                 : channels == 2 ? PNG_FORMAT_GA
                 : channels == 3 ? PNG_FORMAT_RGB
                                 : PNG_FORMAT_RGBA;
  png_alloc_size_t size = 0;
  PRUNELAB_CHECK(png_image_write_to_memory(&image, nullptr, &size, 0, pixels.data(), 0, nullptr) != 0);
  std::string bytes(size, '\0');
  PRUNELAB_CHECK(png_image_write_to_memory(&image, &bytes[0], &size, 0, pixels.data(), 0, nullptr) != 0);
  bytes.resize(size);
  return bytes;
}

std::string EncodeJpeg(int64_t height, int64_t width, int64_t channels, const std::vector<uint8_t>& pixels) {
  PRUNELAB_CHECK(static_cast<int64_t>(pixels.size()) == height * width * channels);
  jpeg_error_mgr errors;
  jpeg_compress_struct jpeg;
  jpeg.err = jpeg_std_error(&errors);
  jpeg_create_compress(&jpeg);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;  // NOLINT: libjpeg's type
  jpeg_mem_dest(&jpeg, &buffer, &size);
  jpeg.image_width = static_cast<JDIMENSION>(width);
  jpeg.image_height = static_cast<JDIMENSION>(height);
  jpeg.input_components = static_cast<int>(channels);
  jpeg.in_color_space = channels == 1 ? JCS_GRAYSCALE : channels == 3 ? JCS_RGB : JCS_CMYK;
  jpeg_set_defaults(&jpeg);
  jpeg_set_quality(&jpeg, 100, TRUE);
  for (int c = 0; c < jpeg.num_components; ++c) jpeg.comp_info[c].h_samp_factor = jpeg.comp_info[c].v_samp_factor = 1;
  jpeg_start_compress(&jpeg, TRUE);
  while (jpeg.next_scanline < jpeg.image_height) {
    JSAMPROW row = const_cast<uint8_t*>(pixels.data()) + jpeg.next_scanline * width * channels;
    jpeg_write_scanlines(&jpeg, &row, 1);
  }
  jpeg_finish_compress(&jpeg);
  std::string bytes(reinterpret_cast<const char*>(buffer), size);
  jpeg_destroy_compress(&jpeg);
  std::free(buffer);
  return bytes;
}

std::vector<uint8_t> OneColor(int64_t height, int64_t width, uint8_t red, uint8_t green, uint8_t blue) {
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < height * width; ++i) pixels.insert(pixels.end(), {red, green, blue});
  return pixels;
}

}  // namespace prunelab
