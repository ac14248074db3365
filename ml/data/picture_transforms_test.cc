#include "ml/data/picture_transforms.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "ml/base/digest.h"
#include "ml/data/picture_transforms_values.h"

namespace prunelab {
namespace {

// The picture of tools/reference/picture_transforms_values.py.
std::vector<uint8_t> Pixels(int64_t height, int64_t width, int64_t channels) {
  const int64_t count = height * width * channels;
  std::vector<uint8_t> pixels;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t value = (i * i * 31 + i * 17 + (i >> 5) * 101) % 256;
    const int64_t smooth = i * 255 / std::max<int64_t>(1, count - 1);
    pixels.push_back(static_cast<uint8_t>((value + 3 * smooth) / 4));
  }
  return pixels;
}

PixelView ViewOf(const std::vector<uint8_t>& pixels, int64_t height, int64_t width, int64_t channels) {
  return {pixels.data(), height, width, channels, width * channels};
}

std::string Digest(const std::vector<uint8_t>& pixels) {
  return Sha256(absl::string_view(reinterpret_cast<const char*>(pixels.data()), pixels.size()));
}

TEST(ResizeBilinearTest, BitsArePillows) {
  for (const ResizeValue& value : ResizeValues()) {
    SCOPED_TRACE(testing::Message() << value.height << "x" << value.width << "x" << value.channels << ", "
                                    << value.box_height << "x" << value.box_width << " to " << value.out_height << "x"
                                    << value.out_width);
    const std::vector<uint8_t> pixels = Pixels(value.height, value.width, value.channels);
    const PixelView box = Cut(ViewOf(pixels, value.height, value.width, value.channels),
                              {value.top, value.left, value.box_height, value.box_width});
    std::vector<uint8_t> out(value.out_height * value.out_width * value.channels);
    ResizeBilinear(box, value.out_height, value.out_width, {0, 0, value.out_height, value.out_width}, out.data());
    EXPECT_EQ(Digest(out), value.digest);
  }
}

TEST(ResizeBilinearTest, APartIsThatOfTheWhole) {
  for (const int64_t channels : {1, 2, 3, 4}) {
    const std::vector<uint8_t> pixels = Pixels(50, 41, channels);
    const PixelView view = ViewOf(pixels, 50, 41, channels);
    std::vector<uint8_t> whole(23 * 60 * channels), part(9 * 31 * channels);
    ResizeBilinear(view, 23, 60, {0, 0, 23, 60}, whole.data());
    ResizeBilinear(view, 23, 60, {11, 17, 9, 31}, part.data());
    for (int64_t y = 0; y < 9; ++y) {
      for (int64_t x = 0; x < 31 * channels; ++x) {
        ASSERT_EQ(part[y * 31 * channels + x], whole[(y + 11) * 60 * channels + 17 * channels + x]);
      }
    }
  }
}

TEST(ResizeAndCenterCropTest, BitsAreTorchvisions) {
  for (const CenterValue& value : CenterValues()) {
    SCOPED_TRACE(testing::Message() << value.height << "x" << value.width << " to " << value.resize << ", "
                                    << value.crop);
    const std::vector<uint8_t> pixels = Pixels(value.height, value.width, value.channels);
    std::vector<uint8_t> out(value.crop * value.crop * value.channels);
    ResizeAndCenterCrop(ViewOf(pixels, value.height, value.width, value.channels), value.resize, value.crop,
                        out.data());
    EXPECT_EQ(Digest(out), value.digest);
  }
}

TEST(ChangeColorsTest, BitsAreTorchvisions) {
  for (const ColorValue& value : ColorValues()) {
    SCOPED_TRACE(testing::Message() << value.height << "x" << value.width << ", " << value.kind << " by "
                                    << value.amount);
    std::vector<uint8_t> pixels = Pixels(value.height, value.width, 3);
    ColorChange change;
    change.applied[value.kind] = true;
    change.amounts[value.kind] = value.amount;
    ChangeColors(change, value.height * value.width, pixels.data());
    EXPECT_EQ(Digest(pixels), value.digest);
  }
}

TEST(ChangeColorsTest, KindsFollowEachOtherInTheirOrder) {
  ColorChange change;
  change.order = {ColorChange::kHue, ColorChange::kContrast, ColorChange::kBrightness, ColorChange::kSaturation};
  change.applied = {true, true, false, true};
  change.amounts = {0.5, 1.5, 0, 0.25};
  std::vector<uint8_t> together = Pixels(12, 9, 3), apart = together;
  ChangeColors(change, 12 * 9, together.data());
  for (const ColorChange::Kind kind : {ColorChange::kHue, ColorChange::kContrast, ColorChange::kBrightness}) {
    ColorChange one = change;
    one.applied = {};
    one.applied[kind] = true;
    ChangeColors(one, 12 * 9, apart.data());
  }
  EXPECT_EQ(together, apart);
  EXPECT_NE(together, Pixels(12, 9, 3));
}

// Deciles of one column of the draws.
void ExpectDeciles(std::vector<double> draws, const std::vector<double>& expected, double tolerance) {
  std::sort(draws.begin(), draws.end());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(draws[draws.size() * (i + 1) / 10], expected[i], tolerance) << "decile " << i + 1;
  }
}

TEST(DrawCropTest, DistributionIsTorchvisions) {
  constexpr int64_t kDraws = 200000;
  for (const CropValue& value : CropValues()) {
    SCOPED_TRACE(testing::Message() << value.height << "x" << value.width);
    const RandomResizedCrop crop = {value.least_area, value.most_area, value.least_ratio, value.most_ratio};
    std::vector<double> areas, ratios, tops, lefts;
    RandomStream spread(5, "spread");
    for (int64_t i = 0; i < kDraws; ++i) {
      RandomStream stream(3, "resized_crop", 0, i);
      const PixelBox box = DrawCrop(crop, value.height, value.width, stream);
      ASSERT_TRUE(box.top >= 0 && box.left >= 0 && box.height >= 1 && box.width >= 1);
      ASSERT_TRUE(box.top + box.height <= value.height && box.left + box.width <= value.width);
      areas.push_back(static_cast<double>(box.height * box.width) / static_cast<double>(value.height * value.width));
      ratios.push_back(static_cast<double>(box.width) / static_cast<double>(box.height));
      const double rows = static_cast<double>(value.height - box.height + 1);
      const double columns = static_cast<double>(value.width - box.width + 1);
      tops.push_back((static_cast<double>(box.top) + spread.Uniform()) / rows);
      lefts.push_back((static_cast<double>(box.left) + spread.Uniform()) / columns);
    }
    // Four standard deviations of a decile's difference are 0.006 of a distribution; where the fallback takes part,
    // values repeat.
    ExpectDeciles(areas, value.areas, 0.008);
    ExpectDeciles(ratios, value.ratios, 0.012);
    ExpectDeciles(tops, value.tops, 0.008);
    ExpectDeciles(lefts, value.lefts, 0.008);
  }
}

TEST(DrawColorChangeTest, FactorsAreUniformAndOrdersAsLikely) {
  constexpr int64_t kDraws = 60000;
  const ColorJitter jitter = {0.4, 1.5, 0, 0.1};
  double brightness = 0, contrast = 0, hue = 0, most_contrast = 0, least_contrast = 9;
  std::vector<int64_t> first(4);
  for (int64_t i = 0; i < kDraws; ++i) {
    RandomStream stream(1, "color_jitter", 0, i);
    const ColorChange change = DrawColorChange(jitter, stream);
    ASSERT_TRUE(change.applied[0] && change.applied[1] && !change.applied[2] && change.applied[3]);
    ASSERT_TRUE(change.amounts[0] >= 0.6 && change.amounts[0] <= 1.4);
    ASSERT_TRUE(change.amounts[3] >= -0.1 && change.amounts[3] <= 0.1);
    brightness += change.amounts[0];
    contrast += change.amounts[1];
    hue += change.amounts[3];
    least_contrast = std::min(least_contrast, change.amounts[1]);
    most_contrast = std::max(most_contrast, change.amounts[1]);
    ++first[change.order[0]];
  }
  EXPECT_NEAR(brightness / kDraws, 1, 0.005);
  EXPECT_NEAR(contrast / kDraws, 1.25, 0.015);  // from 0 to 2.5
  EXPECT_NEAR(hue / kDraws, 0, 0.001);
  EXPECT_NEAR(least_contrast, 0, 0.001);
  EXPECT_NEAR(most_contrast, 2.5, 0.001);
  for (const int64_t count : first) EXPECT_NEAR(static_cast<double>(count) / kDraws, 0.25, 0.01);
}

}  // namespace
}  // namespace prunelab
