#include "ml/data/image_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/data/picture_fake.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ImageFolderTest : public testing::Test {
 protected:
  // Two classes, rose and daisy, of two training pictures and one test picture each.
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    Put("train/rose/a.png", EncodePng(4, 4, 3, OneColor(4, 4, 200, 0, 0)));
    Put("train/rose/B.JPEG", EncodeJpeg(8, 6, 3, OneColor(8, 6, 180, 180, 180)));
    Put("train/daisy/2.png", EncodePng(2, 3, 1, {1, 2, 3, 4, 5, 6}));
    Put("train/daisy/10.png", EncodePng(2, 2, 3, OneColor(2, 2, 7, 8, 9)));
    Put("test/rose/1.png", EncodePng(5, 5, 3, OneColor(5, 5, 10, 20, 30)));
    Put("test/daisy/1.jpg", EncodeJpeg(9, 9, 1, std::vector<uint8_t>(81, 50)));
    parameters_.set_path(root_);
    parameters_.set_image_size(2);
  }

  void Put(const std::string& name, const std::string& bytes) {
    const std::string path = JoinPath(root_, name);
    ASSERT_TRUE(CreateFolders(path.substr(0, path.rfind('/'))).ok());
    ASSERT_TRUE(WriteFileAtomically(path, bytes).ok());
  }
  void Remove(const std::string& name) {
    const std::string path = JoinPath(root_, name);
    ASSERT_TRUE(unlink(path.c_str()) == 0 || rmdir(path.c_str()) == 0) << path;
  }

  absl::Status OpenStatus() { return CreateImageFolder().open(parameters_).status(); }
  std::string Error(const char* field = "path") {
    const absl::Status status = OpenStatus();
    EXPECT_EQ(ErrorField(status), field) << status;
    return std::string(status.message());
  }

  std::string root_;
  ImageFolder parameters_;
};

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kLong).contiguous();
  return {values.const_data_ptr<int64_t>(), values.const_data_ptr<int64_t>() + values.numel()};
}

TEST_F(ImageFolderTest, ReadsPicturesInOrder) {
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->info.classes, 2);
  EXPECT_EQ(data->info.train_images, 4);
  EXPECT_EQ(data->info.test_images, 2);
  ASSERT_EQ(data->train.images.sizes(), at::IntArrayRef({4, 3, 2, 2}));
  // Classes by name: daisy, rose; within them 10.png, 2.png; B.JPEG, a.png.
  EXPECT_THAT(Values(data->train.labels), ElementsAre(0, 0, 1, 1));
  EXPECT_THAT(Values(data->train.images[0]), ElementsAre(7, 7, 7, 7, 8, 8, 8, 8, 9, 9, 9, 9));
  EXPECT_THAT(Values(data->train.images[1]), ElementsAre(1, 2, 4, 5, 1, 2, 4, 5, 1, 2, 4, 5));  // the left two of three
  EXPECT_THAT(Values(data->train.images[3]), ElementsAre(200, 200, 200, 200, 0, 0, 0, 0, 0, 0, 0, 0));
  for (const int64_t value : Values(data->train.images[2])) EXPECT_NEAR(value, 180, 1);
  EXPECT_THAT(Values(data->test.images[1]), ElementsAre(10, 10, 10, 10, 20, 20, 20, 20, 30, 30, 30, 30));
  EXPECT_THAT(data->notes, IsEmpty());
  EXPECT_EQ(data->normalization.scale, 1.0 / 255);
}

TEST_F(ImageFolderTest, GreyResizeAndNormalization) {
  parameters_.set_grey(true);
  parameters_.set_resize(4);
  parameters_.add_mean(0.25);
  parameters_.add_stddev(0.125);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->train.images.sizes(), at::IntArrayRef({4, 1, 2, 2}));
  EXPECT_THAT(Values(data->train.images[0]), ElementsAre(8, 8, 8, 8));
  // 2x3 enlarged to 4x6, of which rows 1 and 2 and columns 2 and 3 are the middle.
  EXPECT_THAT(Values(data->train.images[1]), ElementsAre(2, 2, 5, 5));
  EXPECT_THAT(data->normalization.mean, ElementsAre(0.25));
  EXPECT_THAT(data->normalization.stddev, ElementsAre(0.125));
}

TEST_F(ImageFolderTest, ValIsTakenWhereThereIsNoTest) {
  ASSERT_EQ(rename((root_ + "/test").c_str(), (root_ + "/val").c_str()), 0);
  EXPECT_EQ(CreateImageFolder().open(parameters_)->test.size(), 2);
  // With both it is test.
  Put("test/rose/1.png", EncodePng(5, 5, 3, OneColor(5, 5, 10, 20, 30)));
  Put("test/rose/2.png", EncodePng(5, 5, 3, OneColor(5, 5, 10, 20, 30)));
  Put("test/daisy/2.png", EncodePng(5, 5, 3, OneColor(5, 5, 10, 20, 30)));
  EXPECT_EQ(CreateImageFolder().describe(parameters_)->test_images, 3);
}

TEST_F(ImageFolderTest, OtherFilesAreLeftOutAndCounted) {
  Put("train/rose/readme.txt", "no picture");
  Put("train/labels.csv", "no class");
  Put("train/rose/.hidden.png", "left by an editor");
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 4);
  ASSERT_EQ(data->notes.size(), 1u);
  EXPECT_THAT(data->notes[0], AllOf(HasSubstr("/train: 2 files"), HasSubstr("left out")));
}

TEST_F(ImageFolderTest, BadPicturesAreAllNamed) {
  Put("train/rose/c.png", EncodePng(4, 4, 3, OneColor(4, 4, 1, 2, 3)).substr(0, 50));
  Put("train/daisy/3.jpg", "<!DOCTYPE html>");
  Put("train/daisy/4.jpg", "");
  Put("test/daisy/5.jpeg", "GIF89a");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Error(), AllOf(HasSubstr("4 of 10 pictures cannot be used"),
                             HasSubstr("train/rose/c.png: is a PNG that does not decode"),
                             HasSubstr("train/daisy/3.jpg: is neither JPEG nor PNG, but looks like a web page"),
                             HasSubstr("train/daisy/4.jpg: is empty"),
                             HasSubstr("test/daisy/5.jpeg: is neither JPEG nor PNG"), HasSubstr("on_bad_image: SKIP")));
}

TEST_F(ImageFolderTest, BadPicturesAreSkippedAndCounted) {
  const std::string before = CreateImageFolder().open(parameters_)->fingerprint;
  Put("train/rose/a0.png", "broken");
  Put("train/daisy/1.jpg", "broken");
  parameters_.set_on_bad_image(ImageFolder::SKIP);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 4);
  EXPECT_EQ(data->info.train_images, 4);
  EXPECT_EQ(data->fingerprint, before);  // as if they had not been there
  ASSERT_EQ(data->notes.size(), 1u);
  EXPECT_THAT(data->notes[0], AllOf(HasSubstr("2 of 6 pictures were left out"), HasSubstr("a0.png")));
  Put("test/rose/1.png", "broken");
  EXPECT_THAT(Error(), HasSubstr("no picture is left of the classes rose"));
}

TEST_F(ImageFolderTest, ClassFoldersThatDiffer) {
  Put("train/tulip/1.png", EncodePng(2, 2, 3, OneColor(2, 2, 7, 8, 9)));
  Put("test/Rose/1.png", EncodePng(2, 2, 3, OneColor(2, 2, 7, 8, 9)));
  EXPECT_THAT(Error(), AllOf(HasSubstr("differ: only in train: tulip; only in "), HasSubstr("/test: Rose")));
  EXPECT_EQ(ErrorField(CreateImageFolder().describe(parameters_).status()), "path");
}

TEST_F(ImageFolderTest, FoldersThatAreNone) {
  Put("train/empty/notes.txt", "?");
  EXPECT_THAT(Error(), HasSubstr("/train: no .jpg, .jpeg or .png file in the class folders empty"));
  Put("other/train/rose/1.png", "?");
  parameters_.set_path(root_ + "/other");
  EXPECT_EQ(OpenStatus().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Error(), HasSubstr("has neither test nor val"));
  Put("other/test/rose/1.png", "?");
  EXPECT_THAT(Error(), HasSubstr("has one class, rose"));
  parameters_.set_path(root_ + "/train");
  EXPECT_THAT(Error(), HasSubstr("has no folder train"));
  parameters_.set_path(root_ + "/nowhere");
  EXPECT_EQ(CreateImageFolder().describe(parameters_).status().code(), absl::StatusCode::kNotFound);
  parameters_.set_path(root_ + "/train/rose/a.png");
  EXPECT_THAT(Error(), HasSubstr("is a file"));
  Put("flat/train/1.png", "?");
  Put("flat/test/1.png", "?");
  parameters_.set_path(root_ + "/flat");
  EXPECT_THAT(Error(), HasSubstr("has no folders; must have one for each class"));
  parameters_.clear_path();
  EXPECT_THAT(Error(), HasSubstr("must be set"));
}

TEST_F(ImageFolderTest, TheMemoryLimitIsSaid) {
  parameters_.set_image_size(1000);
  parameters_.set_max_memory_mb(17);
  EXPECT_THAT(Error("max_memory_mb"),
              AllOf(HasSubstr("is 17, but 6 images of 3x1000x1000 bytes take 19"), HasSubstr("smaller image_size")));
  EXPECT_EQ(ErrorField(CreateImageFolder().describe(parameters_).status()), "max_memory_mb");
  parameters_.set_max_memory_mb(18);
  EXPECT_TRUE(CreateImageFolder().describe(parameters_).ok());
}

TEST_F(ImageFolderTest, RefusesBadParameters) {
  const struct {
    const char* field;
    std::function<void(ImageFolder&)> spoil;
  } cases[] = {
      {"image_size", [](ImageFolder& p) { p.set_image_size(0); }},
      {"image_size", [](ImageFolder& p) { p.set_image_size(5000); }},
      {"resize", [](ImageFolder& p) { p.set_resize(1); }},
      {"resize", [](ImageFolder& p) { p.set_resize(10000); }},
      {"max_memory_mb", [](ImageFolder& p) { p.set_max_memory_mb(0); }},
      {"mean", [](ImageFolder& p) { p.add_mean(0.5); }},
      {"stddev", [](ImageFolder& p) { p.set_grey(true), p.add_stddev(std::nan("")); }},
  };
  for (const auto& bad : cases) {
    const ImageFolder good = parameters_;
    bad.spoil(parameters_);
    Error(bad.field);
    parameters_ = good;
  }
}

}  // namespace
}  // namespace prunelab
