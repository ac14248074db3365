#include "ml/data/safetensors_dataset.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <fstream>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/data/image_layout.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Safetensors Good(at::ScalarType dtype = at::kByte) {
  Safetensors file;
  file.tensors["train_images"] = (at::arange(6 * 2 * 3 * 4) % 256).to(dtype).view({6, 2, 3, 4});
  file.tensors["train_labels"] = at::tensor({0, 1, 2, 2, 1, 0}, at::kLong);
  file.tensors["test_images"] = (at::arange(2 * 2 * 3 * 4) + 5).to(dtype).view({2, 2, 3, 4});
  file.tensors["test_labels"] = at::tensor({2, 1}, at::kLong);
  return file;
}

SafetensorsDataset Write(const Safetensors& file) {
  const std::string path = absl::StrCat(testing::TempDir(), "/",
                                        testing::UnitTest::GetInstance()->current_test_info()->name(), ".safetensors");
  EXPECT_TRUE(WriteSafetensors(path, file).ok());
  SafetensorsDataset parameters;
  parameters.set_path(path);
  return parameters;
}

// The error of both functions, which is of `field`.
std::string Error(const SafetensorsDataset& parameters, const char* field = "path") {
  const absl::Status status = CreateSafetensorsDataset().open(parameters).status();
  EXPECT_EQ(ErrorField(status), field) << status;
  return std::string(status.message());
}

TEST(SafetensorsDatasetTest, BytesAreNormalisedLikeOtherPictures) {
  const Safetensors file = Good();
  const absl::StatusOr<Dataset> data = CreateSafetensorsDataset().open(Write(file));
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->info.classes, 3);
  EXPECT_EQ(data->info.channels, 2);
  EXPECT_EQ(data->info.height, 3);
  EXPECT_EQ(data->info.width, 4);
  EXPECT_EQ(data->info.train_images, 6);
  EXPECT_EQ(data->info.test_images, 2);
  EXPECT_TRUE(at::equal(data->train.images, file.tensors.at("train_images")));
  EXPECT_TRUE(at::equal(data->test.labels, file.tensors.at("test_labels")));
  EXPECT_EQ(data->normalization.scale, 1.0 / 255);
  EXPECT_THAT(data->normalization.mean, ElementsAre(0.5, 0.5));
  EXPECT_THAT(data->normalization.stddev, ElementsAre(0.5, 0.5));
}

TEST(SafetensorsDatasetTest, FloatsAreTakenAsTheyAreUnlessSaidOtherwise) {
  Safetensors file = Good(at::kFloat);
  file.tensors["train_labels"] = file.tensors["train_labels"].to(at::kByte);
  file.tensors["test_labels"] = file.tensors["test_labels"].to(at::kInt);
  file.tensors["something_else"] = at::zeros({3});
  SafetensorsDataset parameters = Write(file);
  absl::StatusOr<Dataset> data = CreateSafetensorsDataset().open(parameters);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.labels.scalar_type(), at::kLong);
  EXPECT_EQ(data->normalization.scale, 1);
  EXPECT_THAT(data->normalization.mean, ElementsAre(0, 0));
  EXPECT_THAT(data->normalization.stddev, ElementsAre(1, 1));
  parameters.set_scale(0.25);
  for (const double value : {1, 2}) parameters.add_mean(value), parameters.add_stddev(2 * value);
  parameters.set_classes(5);
  data = CreateSafetensorsDataset().open(parameters);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->normalization.scale, 0.25);
  EXPECT_THAT(data->normalization.mean, ElementsAre(1, 2));
  EXPECT_THAT(data->normalization.stddev, ElementsAre(2, 4));
  EXPECT_EQ(data->info.classes, 5);
}

TEST(SafetensorsDatasetTest, AllDifferencesAreListedAtOnce) {
  Safetensors file = Good();
  file.tensors["train_images"] = at::zeros({6, 3, 4}, at::kByte);
  file.tensors.erase("train_labels");
  file.tensors["test_images"] = at::zeros({2, 2, 3, 4}, at::kDouble);
  file.tensors["test_labels"] = at::zeros({2});
  EXPECT_THAT(Error(Write(file)),
              AllOf(HasSubstr("train_images is Byte [6, 3, 4]; must be uint8 or float32"),
                    HasSubstr("train_labels is missing"), HasSubstr("test_images is Double [2, 2, 3, 4]"),
                    HasSubstr("test_labels is Float [2]; must be integers"), HasSubstr("it has test_images, test_l")));
  file = Good();
  file.tensors["test_labels"] = at::zeros({3}, at::kLong);
  file.tensors["test_images"] = at::zeros({2, 2, 3, 5}, at::kByte);
  EXPECT_THAT(Error(Write(file)),
              AllOf(HasSubstr("test_labels has 3 labels for 2 images"), HasSubstr("must be the same")));
  EXPECT_THAT(Error(Write(Safetensors())), HasSubstr("it has no tensors"));
}

TEST(ImageLayoutTest, WhatLooksLikeHeightWidthChannels) {
  for (const std::array<int64_t, 3>& axes : std::vector<std::array<int64_t, 3>>{{12, 12, 3},
                                                                                {32, 32, 1},
                                                                                {28, 28, 1},
                                                                                {224, 224, 3},
                                                                                {8, 8, 4},
                                                                                {20, 30, 3},
                                                                                {30, 20, 1},
                                                                                {5, 5, 2},
                                                                                {64, 64, 10},
                                                                                {16, 16, 8}}) {
    EXPECT_TRUE(LooksChannelsLast(axes)) << axes[0] << " " << axes[1] << " " << axes[2];
  }
  for (const std::array<int64_t, 3>& axes : std::vector<std::array<int64_t, 3>>{{3, 32, 32},
                                                                                {1, 8, 8},
                                                                                {3, 3, 3},
                                                                                {1, 1, 1},
                                                                                {2, 3, 4},
                                                                                {3, 3, 1},
                                                                                {4, 4, 3},
                                                                                {12, 12, 12},
                                                                                {16, 8, 8},
                                                                                {3, 32, 1},
                                                                                {2, 40, 1},
                                                                                {64, 8, 8},
                                                                                {8, 8, 16},
                                                                                {3, 20, 30},
                                                                                {10, 64, 64},
                                                                                {512, 1, 1},
                                                                                {16, 8, 5}}) {
    EXPECT_FALSE(LooksChannelsLast(axes)) << axes[0] << " " << axes[1] << " " << axes[2];
  }
}

TEST(SafetensorsDatasetTest, ImagesWithTheirChannelsLastAreRefusedUnlessTheyAreMeant) {
  for (const at::ScalarType dtype : {at::kByte, at::kFloat}) {
    Safetensors file = Good(dtype);
    file.tensors["train_images"] = at::zeros({6, 12, 16, 3}, dtype);
    file.tensors["test_images"] = at::zeros({2, 12, 16, 3}, dtype);
    SafetensorsDataset parameters = Write(file);
    const std::string type = dtype == at::kByte ? "Byte" : "Float";
    const std::string text =
        " [6, 12, 16, 3]; must be uint8 or float32 [images, channels, height, width], but [12, 16, 3] looks like "
        "height, "
        "width, channels; transpose the images to [N, 3, 12, 16], in numpy "
        "numpy.ascontiguousarray(images.transpose(0, 3, 1, 2)), in PyTorch images.permute(0, 3, 1, 2).contiguous(); "
        "or, "
        "if 12 channels of 16x3 pixels are meant, set channels_first: true";
    EXPECT_THAT(Error(parameters), AllOf(HasSubstr("train_images is " + type + text),
                                         HasSubstr("test_images is " + type + " [2, 12, 16, 3]")));
    EXPECT_EQ(ErrorField(CreateSafetensorsDataset().describe(parameters).status()), "path");
    parameters.set_channels_first(true);
    const absl::StatusOr<Dataset> data = CreateSafetensorsDataset().open(parameters);
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->info.channels, 12);
    EXPECT_EQ(data->info.height, 16);
    EXPECT_EQ(data->info.width, 3);
  }
  // Correct axes, and as many channels as are allowed.
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{6, 3, 12, 16}, {6, 1, 8, 8}, {6, 3, 3, 3}, {6, 12, 12, 12}, {6, 16, 8, 8}}) {
    Safetensors file = Good();
    file.tensors["train_images"] = at::zeros(shape, at::kByte);
    file.tensors["test_images"] = file.tensors["train_images"].narrow(0, 0, 2).clone();
    const absl::StatusOr<Dataset> data = CreateSafetensorsDataset().open(Write(file));
    ASSERT_TRUE(data.ok()) << data.status();
    EXPECT_EQ(data->info.channels, shape[1]);
  }
}

TEST(SafetensorsDatasetTest, LabelsOfAnotherKindSayHowTheyBecomeIntegers) {
  const auto error = [](const at::Tensor& labels) {
    Safetensors file = Good();
    file.tensors["train_labels"] = labels;
    return Error(Write(file));
  };
  EXPECT_THAT(error(at::zeros({6, 3})), HasSubstr("train_labels is Float [6, 3]; must be integers [images], which "
                                                  "labels.argmax(1) makes of one-hot rows or probabilities"));
  EXPECT_THAT(error(at::zeros({6, 3}, at::kLong)), HasSubstr("labels.argmax(1)"));
  EXPECT_THAT(error(at::zeros({6, 1}, at::kLong)), HasSubstr("Long [6, 1]; must be integers [images], which "
                                                             "labels.reshape(-1) makes of them"));
  EXPECT_THAT(error(at::zeros({6})), HasSubstr("a conversion to int64 makes of whole numbers"));
  EXPECT_THAT(error(at::zeros({6}, at::kBool)), HasSubstr("a conversion to uint8 makes of them"));
  EXPECT_THAT(error(at::zeros({2, 3, 1}, at::kLong)), HasSubstr("Long [2, 3, 1]; must be integers [images]\n"));
  EXPECT_THAT(
      error(at::tensor({1, 2, 3, 3, 2, 1}, at::kLong)),
      HasSubstr("no training image has label 0 of the 4 that the labels span; number the classes from 0 without "
                "gaps (labels from 1 on: subtract 1), or set `classes`"));
}

TEST(SafetensorsDatasetTest, LabelsOutOfRange) {
  Safetensors file = Good();
  file.tensors["train_labels"][3] = -1;
  EXPECT_THAT(Error(Write(file)), HasSubstr("train_labels[3] is -1; must be from 0"));
  file = Good();
  file.tensors["test_labels"][1] = int64_t{1} << 40;
  EXPECT_THAT(Error(Write(file)), HasSubstr("test_labels[1] is 1099511627776; must be from 0 to 65535"));
  file = Good();
  SafetensorsDataset parameters = Write(file);
  parameters.set_classes(2);
  EXPECT_THAT(Error(parameters), HasSubstr("train_labels[2] is 2; must be from 0 to 1"));
  file.tensors["test_labels"][1] = 4;
  EXPECT_THAT(Error(Write(file)), HasSubstr("no training image has label 3 of the 5"));
  parameters = Write(file);
  parameters.set_classes(5);
  EXPECT_TRUE(CreateSafetensorsDataset().open(parameters).ok());
}

TEST(SafetensorsDatasetTest, PixelsMustBeFinite) {
  Safetensors file = Good(at::kFloat);
  file.tensors["test_images"][1][0][2][3] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(Error(Write(file)), HasSubstr("test_images[1] has pixels that are infinite or NaN"));
}

TEST(SafetensorsDatasetTest, FilesThatAreNone) {
  SafetensorsDataset parameters;
  EXPECT_THAT(Error(parameters), HasSubstr("must be set"));
  parameters.set_path("/no/such.safetensors");
  EXPECT_EQ(CreateSafetensorsDataset().describe(parameters).status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Error(parameters), HasSubstr("/no/such.safetensors"));
  parameters = Write(Good());
  std::ofstream(parameters.path(), std::ios::app) << "x";
  EXPECT_THAT(Error(parameters), HasSubstr("bytes after its tensors"));
  std::ofstream(parameters.path(), std::ios::trunc) << "PK\x03\x04 a zip archive";
  EXPECT_THAT(Error(parameters), HasSubstr("not a valid safetensors file: it is a zip archive; unpack it"));
  std::ofstream(parameters.path(), std::ios::trunc) << "version https://git-lfs.github.com/spec/v1\n";
  EXPECT_THAT(Error(parameters), HasSubstr("it is a Git LFS pointer, whose file was not fetched"));
}

// A type that is not read is an error only where the tensor is needed.
TEST(SafetensorsDatasetTest, TypesThatAreNotRead) {
  const auto with_type = [](const std::string& name, const std::string& from, const std::string& to) {
    std::string bytes = SerializeSafetensors(Good());
    const size_t at = bytes.find("\"dtype\":\"" + from, bytes.find("\"" + name + "\"")) + 9;
    bytes.replace(at, from.size(), to);
    const SafetensorsDataset parameters = Write(Good());
    std::ofstream(parameters.path(), std::ios::binary | std::ios::trunc) << bytes;
    return parameters;
  };
  EXPECT_THAT(Error(with_type("train_labels", "I64", "U64")),
              HasSubstr("train_labels is U64 [6]; must be integers [images], which a conversion to int64 makes"));
  EXPECT_THAT(Error(with_type("test_images", "U8", "Q8")),
              HasSubstr("test_images is Q8 [2, 2, 3, 4]; must be uint8 or float32"));
}

TEST(SafetensorsDatasetTest, RefusesBadParameters) {
  const SafetensorsDataset good = Write(Good());
  const struct {
    const char* field;
    std::function<void(SafetensorsDataset&)> spoil;
  } cases[] = {
      {"classes", [](SafetensorsDataset& p) { p.set_classes(1); }},
      {"classes", [](SafetensorsDataset& p) { p.set_classes(int64_t{1} << 40); }},
      {"scale", [](SafetensorsDataset& p) { p.set_scale(0); }},
      {"scale", [](SafetensorsDataset& p) { p.set_scale(std::numeric_limits<double>::quiet_NaN()); }},
      {"mean", [](SafetensorsDataset& p) { p.add_mean(0); }},
      {"stddev", [](SafetensorsDataset& p) { p.add_stddev(1), p.add_stddev(0); }},
  };
  for (const auto& bad : cases) {
    SafetensorsDataset parameters = good;
    bad.spoil(parameters);
    Error(parameters, bad.field);
    EXPECT_EQ(ErrorField(CreateSafetensorsDataset().describe(parameters).status()), bad.field);
  }
}

}  // namespace
}  // namespace prunelab
