#include "ml/training/augmentation.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

Training Parse(const std::string& text) {
  Training training;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &training)) << text;
  return training;
}

LabelledImages Images(at::ScalarType type, int64_t channels, bool cut) {
  return {at::zeros({2, channels, 4, 4}, type), at::zeros({2}, at::kLong), nullptr, cut};
}

TEST(AugmentationOfTest, IsWhatTheConfigSays) {
  const Augmentation none = AugmentationOf(Parse(""));
  EXPECT_FALSE(none.resized_crop || none.color_jitter.changes() || none.horizontal_flip);
  const Augmentation all =
      AugmentationOf(Parse("random_resized_crop { least_area: 0.25 most_ratio: 2 } horizontal_flip: true "
                           "color_jitter { brightness: 1 contrast: 2 saturation: 3 hue: 0.5 }"));
  EXPECT_TRUE(all.horizontal_flip);
  EXPECT_EQ(all.resized_crop->least_area, 0.25);
  EXPECT_EQ(all.resized_crop->most_area, 1);
  EXPECT_EQ(all.resized_crop->least_ratio, 0.75);
  EXPECT_EQ(all.resized_crop->most_ratio, 2);
  EXPECT_EQ(all.color_jitter.brightness, 1);
  EXPECT_EQ(all.color_jitter.contrast, 2);
  EXPECT_EQ(all.color_jitter.saturation, 3);
  EXPECT_EQ(all.color_jitter.hue, 0.5);
  // The defaults are torchvision's.
  const Augmentation defaults = AugmentationOf(Parse("random_resized_crop {}"));
  EXPECT_EQ(defaults.resized_crop->least_area, 0.08);
  EXPECT_EQ(defaults.resized_crop->most_ratio, 4.0 / 3);
}

TEST(CheckAugmentationTest, TheDataMustAllowIt) {
  const auto error = [](const std::string& config, const LabelledImages& data, const char* field) {
    const absl::Status status = CheckAugmentation(Parse(config), data);
    EXPECT_EQ(ErrorField(status), field) << config << ": " << status;
    return ErrorText(status);
  };
  const std::string crop = "random_resized_crop {}", colors = "color_jitter { saturation: 0.1 }";
  EXPECT_TRUE(CheckAugmentation(Parse(crop + colors), Images(at::kByte, 3, false)).ok());
  EXPECT_TRUE(CheckAugmentation(Parse(crop), Images(at::kByte, 1, false)).ok());
  EXPECT_TRUE(
      CheckAugmentation(Parse("random_crop_padding: 4 horizontal_flip: true"), Images(at::kFloat, 2, true)).ok());
  EXPECT_TRUE(CheckAugmentation(Parse("color_jitter {}"), Images(at::kFloat, 1, false)).ok()) << "it changes nothing";
  EXPECT_THAT(error(crop, Images(at::kFloat, 3, false), "random_resized_crop"),
              HasSubstr("this data set's are floats"));
  EXPECT_THAT(error(crop, Images(at::kByte, 3, true), "random_resized_crop"),
              HasSubstr("set whole_training_pictures: true there"));
  EXPECT_THAT(error(colors, Images(at::kByte, 1, false), "color_jitter"), HasSubstr("have 1 channel of bytes"));
  EXPECT_THAT(error(colors, Images(at::kFloat, 3, false), "color_jitter"), HasSubstr("have 3 channels of floats"));
}

}  // namespace
}  // namespace prunelab
