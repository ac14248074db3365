#include "ml/data/picture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "ml/data/picture_values.h"
#include "ml/data/testing/picture_fake.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<uint8_t> Ramp(int64_t count) {
  std::vector<uint8_t> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<uint8_t>(i * 37 + i / 7);
  return values;
}

std::string Error(const std::string& bytes) { return std::string(DecodePicture(bytes).status().message()); }

TEST(PictureTest, PngIsExact) {
  const std::vector<uint8_t> pixels = Ramp(5 * 7 * 3);
  const absl::StatusOr<Picture> picture = DecodePicture(EncodePng(5, 7, 3, pixels));
  ASSERT_TRUE(picture.ok()) << picture.status();
  EXPECT_EQ(picture->height, 5);
  EXPECT_EQ(picture->width, 7);
  EXPECT_EQ(picture->pixels, pixels);
}

TEST(PictureTest, GreyAndTransparentPngs) {
  const absl::StatusOr<Picture> grey = DecodePicture(EncodePng(1, 2, 1, {10, 200}));
  ASSERT_TRUE(grey.ok()) << grey.status();
  EXPECT_THAT(grey->pixels, ElementsAre(10, 10, 10, 200, 200, 200));
  // Alpha is dropped, and the colour below it stays.
  const absl::StatusOr<Picture> clear =
      DecodePicture(EncodePng(1, 3, 4, {1, 2, 3, 255, 90, 100, 110, 0, 7, 8, 9, 128}));
  ASSERT_TRUE(clear.ok()) << clear.status();
  EXPECT_THAT(clear->pixels, ElementsAre(1, 2, 3, 90, 100, 110, 7, 8, 9));
}

TEST(PictureTest, JpegIsNearlyExact) {
  // A smooth picture, which suits JPEG: at quality 100 nothing is off by more than a few levels.
  std::vector<uint8_t> pixels;
  for (int y = 0; y < 24; ++y) {
    for (int x = 0; x < 20; ++x) {
      pixels.insert(pixels.end(), {static_cast<uint8_t>(10 * x), static_cast<uint8_t>(10 * y), 77});
    }
  }
  const absl::StatusOr<Picture> picture = DecodePicture(EncodeJpeg(24, 20, 3, pixels));
  ASSERT_TRUE(picture.ok()) << picture.status();
  ASSERT_EQ(picture->pixels.size(), pixels.size());
  for (size_t i = 0; i < pixels.size(); ++i) EXPECT_NEAR(picture->pixels[i], pixels[i], 3) << i;
}

TEST(PictureTest, GreyAndCmykJpegs) {
  const absl::StatusOr<Picture> grey = DecodePicture(EncodeJpeg(8, 8, 1, std::vector<uint8_t>(64, 99)));
  ASSERT_TRUE(grey.ok()) << grey.status();
  EXPECT_EQ(grey->pixels, std::vector<uint8_t>(8 * 8 * 3, 99));
  // Ink is inverted: 255 means none. Half of the magenta ink and a fifth of the black.
  std::vector<uint8_t> ink;
  for (int i = 0; i < 64; ++i) ink.insert(ink.end(), {255, 128, 255, 204});
  const absl::StatusOr<Picture> cmyk = DecodePicture(EncodeJpeg(8, 8, 4, ink));
  ASSERT_TRUE(cmyk.ok()) << cmyk.status();
  ASSERT_EQ(cmyk->pixels.size(), 8u * 8 * 3);
  for (size_t i = 0; i < cmyk->pixels.size(); ++i) EXPECT_NEAR(cmyk->pixels[i], i % 3 == 1 ? 102 : 204, 2);
}

std::string Bytes(const std::string& hexadecimal) {
  std::string bytes;
  for (size_t i = 0; i < hexadecimal.size(); i += 2) {
    bytes.push_back(static_cast<char>(std::stoi(hexadecimal.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// Pillow links the same libraries, perhaps of other versions: JPEGs may differ by a rounding. (With libjpeg-turbo 2.1
// here and 3.2 there they do not.)
void ExpectPixels(const std::vector<uint8_t>& pixels, const std::string& wanted, const char* name) {
  ASSERT_EQ(pixels.size(), wanted.size()) << name;
  const int tolerance = std::string(name).find("JPEG") == std::string::npos ? 0 : 1;
  for (size_t i = 0; i < wanted.size(); ++i) {
    ASSERT_NEAR(pixels[i], static_cast<uint8_t>(wanted[i]), tolerance) << name << " " << i;
  }
}

TEST(PictureTest, EqualsPillow) {
  EXPECT_GT(PictureReference().size(), 50u);
  for (const PictureValues& wanted : PictureReference()) {
    absl::StatusOr<Picture> picture = DecodePicture(Bytes(wanted.file));
    ASSERT_TRUE(picture.ok()) << wanted.name << ": " << picture.status();
    EXPECT_EQ(picture->height, 7);
    EXPECT_EQ(picture->width, 9);
    ExpectPixels(picture->pixels, Bytes(wanted.pixels), wanted.name);
    EXPECT_EQ(picture->orientation, wanted.orientation) << wanted.name;
    EXPECT_FALSE(picture->exif_damaged) << wanted.name;
    EXPECT_EQ(picture->deep_grey, std::string(wanted.name) == "grey PNG of 16 bits") << wanted.name;
    if (wanted.orientation == 1) continue;
    TurnUpright(*picture);
    EXPECT_EQ(picture->orientation, 1);
    EXPECT_EQ(picture->height, wanted.orientation < 5 ? 7 : 9) << wanted.name;
    EXPECT_EQ(picture->width, wanted.orientation < 5 ? 9 : 7) << wanted.name;
    ExpectPixels(picture->pixels, Bytes(wanted.upright), wanted.name);
  }
}

// [0 1 2; 3 4 5] turned by hand.
TEST(PictureTest, TurnsUpright) {
  const std::vector<uint8_t> turned[] = {{0, 1, 2, 3, 4, 5}, {2, 1, 0, 5, 4, 3}, {5, 4, 3, 2, 1, 0},
                                         {3, 4, 5, 0, 1, 2}, {0, 3, 1, 4, 2, 5}, {3, 0, 4, 1, 5, 2},
                                         {5, 2, 4, 1, 3, 0}, {2, 5, 1, 4, 0, 3}};
  for (int orientation = 1; orientation <= 8; ++orientation) {
    Picture picture = {2, 3, {}, orientation};
    for (uint8_t i = 0; i < 6; ++i) picture.pixels.insert(picture.pixels.end(), {i, 100, 200});
    TurnUpright(picture);
    EXPECT_EQ(picture.height, orientation < 5 ? 2 : 3);
    EXPECT_EQ(picture.width, orientation < 5 ? 3 : 2);
    for (size_t i = 0; i < 6; ++i) {
      EXPECT_EQ(picture.pixels[3 * i], turned[orientation - 1][i]) << orientation << " " << i;
      EXPECT_EQ(picture.pixels[3 * i + 2], 200);
    }
  }
}

// A 2x2 JPEG with this segment after its first marker.
std::string JpegWithExif(const std::string& exif) {
  const std::string jpeg = EncodeJpeg(2, 2, 1, {1, 2, 3, 4});
  const size_t length = exif.size() + 8;
  return jpeg.substr(0, 2) + "\xFF\xE1" + static_cast<char>(length >> 8) + static_cast<char>(length) +
         std::string("Exif\0\0", 6) + exif + jpeg.substr(2);
}

// One entry: tag, type, count and value in big endian.
std::string ExifOfOne(const std::string& type, const std::string& count, const std::string& value) {
  return Bytes(
      "4d4d002a00000008"
      "0001"
      "0112" +
      type + count + value + "00000000");
}

TEST(PictureTest, DamagedExifIsSaidAndDoesNotTurn) {
  const std::string good = ExifOfOne("0003", "00000001", "00060000");
  const absl::StatusOr<Picture> turned = DecodePicture(JpegWithExif(good));
  ASSERT_TRUE(turned.ok()) << turned.status();
  EXPECT_EQ(turned->orientation, 6);
  const struct {
    const char* what;
    std::string exif;
    bool damaged;
  } cases[] = {
      {"no entries", Bytes("49492a00080000000000"), false},
      {"the value 0", ExifOfOne("0003", "00000001", "00000000"), false},
      {"the value 9", ExifOfOne("0003", "00000001", "00090000"), true},
      {"two values", ExifOfOne("0003", "00000002", "00060006"), true},
      {"text", ExifOfOne("0002", "00000001", "36000000"), true},
      {"nothing", "", false},
      {"one byte", "M", true},
      {"another order", "XX" + good.substr(2), true},
      {"another number than 42", Bytes("4d4d002b") + good.substr(4), true},
      {"a directory outside", Bytes("4d4d002affffffff") + good.substr(8), true},
      {"a directory at the end", Bytes("4d4d002a00000008"), true},
      {"an entry that is cut", good.substr(0, 20), true},
      {"more entries than there are", Bytes("4d4d002a00000008ffff010f00020000000161000000"), true},
  };
  for (const auto& odd : cases) {
    const absl::StatusOr<Picture> picture = DecodePicture(JpegWithExif(odd.exif));
    ASSERT_TRUE(picture.ok()) << odd.what << picture.status();
    EXPECT_EQ(picture->orientation, 1) << odd.what;
    EXPECT_EQ(picture->exif_damaged, odd.damaged) << odd.what;
    EXPECT_EQ(picture->pixels.size(), 12u);
  }
}

TEST(PictureTest, WhatDoesNotDecodeIsRefused) {
  EXPECT_THAT(Error(""), HasSubstr("is empty"));
  EXPECT_THAT(Error("GIF89a"), HasSubstr("neither JPEG nor PNG"));
  EXPECT_THAT(Error("<html>"), HasSubstr("looks like a web page"));
  EXPECT_THAT(Error("\xEF\xBB\xBF\n <!DOCTYPE html>"), HasSubstr("looks like a web page"));
  EXPECT_THAT(Error("P6\n2 2\n255\n"), HasSubstr("looks like a PPM or PGM picture"));
  EXPECT_EQ(Error(std::string("RIFF\x24\0\0\0WEBPVP8 ", 16)),
            "is neither JPEG nor PNG, but looks like a WebP picture, by its first bytes");
  EXPECT_THAT(Error("version https://git-lfs.github.com/spec/v1\noid sha256:0"), HasSubstr("git lfs pull"));
  EXPECT_THAT(Error(std::string("\0\0\0\x1c"
                                "ftypavif\0\0\0\0",
                                16)),
              HasSubstr("AVIF"));
  const std::string png = EncodePng(16, 16, 3, Ramp(16 * 16 * 3)), jpeg = EncodeJpeg(16, 16, 3, Ramp(16 * 16 * 3));
  EXPECT_THAT(Error(png.substr(0, 20)), HasSubstr("is a PNG that does not decode: "));
  EXPECT_THAT(Error(jpeg.substr(0, 20)), HasSubstr("is a JPEG that does not decode: "));
  // Every truncation of a picture is refused; none is filled up with grey. (The last bytes of a PNG, its IEND chunk,
  // contain nothing about the picture.)
  for (size_t size = 0; size + 20 < png.size(); ++size) EXPECT_FALSE(DecodePicture(png.substr(0, size)).ok()) << size;
  for (size_t size = 0; size < jpeg.size() - 2; ++size) EXPECT_FALSE(DecodePicture(jpeg.substr(0, size)).ok()) << size;
  // A palette of two colours, and a pixel of a third colour.
  std::string palette;
  for (const PictureValues& values : PictureReference()) {
    if (std::string(values.name) == "interlaced PNG with a palette") palette = Bytes(values.file);
  }
  const size_t colours = palette.find("PLTE");
  ASSERT_NE(colours, std::string::npos);
  palette[colours - 1] = 6;
  palette.erase(colours + 10, 6 + 4);
  palette.insert(colours + 10, Bytes("d51bb4e9"));
  EXPECT_THAT(Error(palette), HasSubstr("it uses colours that its palette does not have"));
  // Damage in the middle.
  std::string damaged = png;
  damaged[png.size() / 2] ^= 0x55;
  EXPECT_THAT(Error(damaged), HasSubstr("does not decode"));
}

// Whatever one wrong byte makes of a file, it is decoded or refused; sanitizers watch.
TEST(PictureTest, EveryByteMayBeWrong) {
  int refused = 0;
  for (const PictureValues& good : PictureReference()) {
    const std::string bytes = Bytes(good.file);
    for (size_t i = 0; i < bytes.size(); ++i) {
      for (const int bit : {0, 7}) {
        std::string bad = bytes;
        bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
        const absl::StatusOr<Picture> picture = DecodePicture(bad);
        if (picture.ok()) {
          EXPECT_EQ(static_cast<int64_t>(picture->pixels.size()), picture->height * picture->width * 3);
        } else {
          ++refused;
        }
      }
    }
  }
  EXPECT_GT(refused, 1000);
}

// Headers that promise more pixels than there could be are refused before room is made for them.
TEST(PictureTest, HugeSizesAreRefused) {
  std::string jpeg = EncodeJpeg(16, 16, 1, std::vector<uint8_t>(256, 5));
  const size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  for (int i = 5; i < 9; ++i) jpeg[frame + i] = '\xFE';  // height and width
  EXPECT_THAT(Error(jpeg), HasSubstr("pixels; must be at most 268435456"));
  std::string png = EncodePng(4, 4, 1, std::vector<uint8_t>(16, 5));
  png[16 + 1] = png[20 + 1] = '\x0F';  // a million by a million; the chunk's checksum is wrong, too
  EXPECT_FALSE(DecodePicture(png).ok());
}

// A flat picture compresses as well as any can; less of it than that is none.
TEST(PictureTest, AFileTooShortForItsSizesIsRefusedBeforeRoomIsMade) {
  const std::vector<uint8_t> flat(int64_t{2000} * 3000, 7);
  const std::string png = EncodePng(2000, 3000, 1, flat), jpeg = EncodeJpeg(2000, 3000, 1, flat);
  for (const std::string& bytes : {png, jpeg}) {
    const absl::StatusOr<Picture> picture = DecodePicture(bytes);
    ASSERT_TRUE(picture.ok()) << picture.status();
    EXPECT_EQ(picture->pixels, std::vector<uint8_t>(flat.size() * 3, 7));
  }
  EXPECT_LT(png.size(), 20'000u);
  EXPECT_THAT(Error(png.substr(0, 5000)), HasSubstr("its 5000 bytes cannot hold 3000x2000 pixels"));
  EXPECT_THAT(Error(jpeg.substr(0, 2000)), HasSubstr("its 2000 bytes cannot hold 3000x2000 pixels"));
  EXPECT_THAT(Error(jpeg.substr(0, 20000)), HasSubstr("is a JPEG that does not decode: "));
}

std::vector<uint8_t> Resized(const Picture& picture, int64_t resize, int64_t crop, int64_t channels) {
  std::vector<uint8_t> out(channels * crop * crop);
  ResizeAndCrop(picture, resize, crop, channels, out.data());
  return out;
}

TEST(PictureTest, ShrinkingAveragesAreas) {
  // 4x4 to 2x2: squares of four; (0 + 1 + 4 + 5) / 4 = 2.5, rounded up.
  Picture picture = {4, 4, {}};
  for (uint8_t i = 0; i < 16; ++i) picture.pixels.insert(picture.pixels.end(), {i, static_cast<uint8_t>(2 * i), 9});
  EXPECT_THAT(Resized(picture, 2, 2, 3), ElementsAre(3, 5, 11, 13, 5, 9, 21, 25, 9, 9, 9, 9));
  // 3x3 to 2x2: an output pixel covers one and a half pixels in each direction, so the weights are 4, 2, 2, 1 of 9.
  picture = {3, 3, {}};
  for (const uint8_t i : {0, 90, 180, 9, 99, 189, 18, 108, 198}) picture.pixels.insert(picture.pixels.end(), {i, i, i});
  // (4*0 + 2*90 + 2*9 + 99) / 9 = 33; (4*180 + 2*90 + 2*189 + 99) / 9 = 153; and likewise below.
  EXPECT_THAT(Resized(picture, 2, 2, 1), ElementsAre(33, 153, 45, 165));
}

TEST(PictureTest, EnlargingRepeatsPixels) {
  Picture picture = {2, 2, {}};
  for (const uint8_t i : {10, 20, 30, 40}) picture.pixels.insert(picture.pixels.end(), {i, i, i});
  EXPECT_THAT(Resized(picture, 4, 4, 1), ElementsAre(10, 10, 20, 20, 10, 10, 20, 20, 30, 30, 40, 40, 30, 30, 40, 40));
  EXPECT_THAT(Resized(picture, 3, 3, 1), ElementsAre(10, 15, 20, 20, 25, 30, 30, 35, 40));
}

TEST(PictureTest, TheMiddleIsCut) {
  Picture picture = {2, 5, {}};
  for (uint8_t i = 0; i < 10; ++i) picture.pixels.insert(picture.pixels.end(), {i, i, i});
  EXPECT_THAT(Resized(picture, 2, 2, 1), ElementsAre(1, 2, 6, 7));
  Picture tall = {6, 2, {}};
  for (uint8_t i = 0; i < 12; ++i) tall.pixels.insert(tall.pixels.end(), {i, i, i});
  EXPECT_THAT(Resized(tall, 2, 2, 1), ElementsAre(4, 5, 6, 7));
  EXPECT_THAT(Resized(tall, 2, 1, 1), ElementsAre(4));
}

TEST(PictureTest, LumaIsWeighted) {
  const Picture picture = {1, 1, {100, 200, 50}};
  EXPECT_THAT(Resized(picture, 1, 1, 1), ElementsAre(153));  // 29.9 + 117.4 + 5.7
}

// Large pictures and extreme shapes stay exact: the mean of one value is that value.
TEST(PictureTest, OneColourStays) {
  for (const auto& [height, width] : {std::pair<int64_t, int64_t>{1, 3000}, {3000, 1}, {701, 997}, {7, 5}}) {
    Picture picture = {height, width, OneColor(height, width, 255, 1, 128)};
    const std::vector<uint8_t> out = Resized(picture, 16, 14, 3);
    for (size_t i = 0; i < out.size(); ++i) ASSERT_EQ(out[i], i < 196 ? 255 : i < 392 ? 1 : 128) << height << " " << i;
  }
}

}  // namespace
}  // namespace prunelab
