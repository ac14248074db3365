#include "ml/data/image_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/data/testing/picture_fake.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
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
  EXPECT_THAT(CreateImageFolder().open(parameters_)->notes,
              ElementsAre(HasSubstr("/val: is not used (it has 2 pictures); the test data are those of test")));
}

TEST_F(ImageFolderTest, WhatIsLeftOutIsCountedAndNamed) {
  const std::string picture = EncodePng(2, 2, 3, OneColor(2, 2, 1, 2, 3));
  Put("train/rose/readme.txt", "no picture");
  Put("train/labels.csv", "no class");
  Put("train/.DS_Store", "?");
  Put("train/__MACOSX/rose/._a.png", picture);
  Put("train/rose/._a.png", picture);
  Put("train/rose/Thumbs.db", "?");
  Put("train/rose/.ipynb_checkpoints/a-checkpoint.png", picture);
  Put("train/rose/b.webp", "?");
  Put("train/rose/c.TIFF", "?");
  Put("train/loose.png", picture);
  Put("test/daisy/new\nline.txt", "?");
  Put("__MACOSX/train/rose/._a.png", picture);
  Put("masks/rose/a.png", picture);
  Put("valid/rose/a.png", picture);
  Put("valid/daisy/a.png", picture);
  Put("sample.jpg", picture);
  Put("README.md", "?");
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->train.size(), 4);
  EXPECT_EQ(data->test.size(), 2);
  EXPECT_THAT(
      data->notes,
      ElementsAre(root_ + ": left out 1 hidden file or file of the system: __MACOSX/",
                  root_ + ": left out 1 picture outside of the class folders: sample.jpg",
                  root_ + ": 1 folder is not used: masks",
                  root_ + "/valid: is not used (it has 2 pictures); the test data are those of test",
                  root_ + "/train: left out 5 hidden files or files of the system: .DS_Store, __MACOSX/, rose/._a.png, "
                          "rose/.ipynb_checkpoints/, rose/Thumbs.db",
                  root_ + "/train: left out 2 pictures of kinds that are not read (to be converted to PNG, which keeps "
                          "their pixels): rose/b.webp, rose/c.TIFF",
                  root_ + "/train: left out 1 picture outside of the class folders: loose.png",
                  root_ + "/train: left out 2 files that are not .jpg, .jpeg or .png: labels.csv, rose/readme.txt",
                  root_ + "/test: left out 1 file that is not .jpg, .jpeg or .png: \"daisy/new\\nline.txt\""));
  for (int i = 0; i < 20; ++i) Put(absl::StrCat("test/rose/", i, ".gif"), "?");
  EXPECT_THAT(CreateImageFolder().open(parameters_)->notes.back(), HasSubstr("\"daisy/new"));
  EXPECT_THAT(
      CreateImageFolder().open(parameters_)->notes,
      Contains(AllOf(HasSubstr("left out 20 pictures of kinds"), HasSubstr(": rose/0.gif, rose/1.gif, rose/10.gif"),
                     HasSubstr("rose/17.gif, and 10 more"))));
}

// Folders below a class belong to it. The order is that of sorted(os.walk(class folder)), as in torchvision.
TEST_F(ImageFolderTest, FoldersWithinAClass) {
  const auto put = [&](const std::string& name, uint8_t red) {
    Put(name, EncodePng(2, 2, 3, OneColor(2, 2, red, 0, 0)));
  };
  put("train/rose/more/2.png", 12);
  put("train/rose/more/1.png", 11);
  put("train/rose/more/deep/0.png", 13);
  put("train/rose/more-of/0.png", 14);
  put("train/tulip/images/0.JPEG", 15);  // as in Tiny ImageNet; by its first bytes a PNG
  put("test/tulip/0.png", 16);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(Values(data->train.labels), ElementsAre(0, 0, 1, 1, 1, 1, 1, 1, 2));
  // "rose" < "rose/more" < "rose/more-of" < "rose/more/deep"
  std::vector<int64_t> red;
  for (int64_t i = 3; i < 9; ++i) red.push_back(data->train.images[i][0][0][0].item<int64_t>());
  EXPECT_THAT(red, ElementsAre(200, 11, 12, 14, 13, 15));
  EXPECT_THAT(data->notes, IsEmpty());
}

TEST_F(ImageFolderTest, LinksThatLeadBackAreLeftOut) {
  Put("elsewhere/3.png", EncodePng(2, 2, 3, OneColor(2, 2, 1, 2, 3)));
  const auto link = [&](const std::string& target, const std::string& name) {
    ASSERT_EQ(symlink(target.c_str(), JoinPath(root_, name).c_str()), 0) << name;
  };
  link("..", "train/rose/up");        // all classes would be roses
  link(".", "train/rose/here");       // an endless cycle
  link("../..", "train/daisy/root");  // the data
  link(".", "train/all");             // would be a class of everything
  link("../../elsewhere", "train/daisy/away");
  link("../../elsewhere", "train/daisy/away again");
  link("itself", "train/daisy/itself");
  link("../rose/a.png", "train/daisy/a.png");
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(Values(data->train.labels), ElementsAre(0, 0, 0, 0, 1, 1));
  EXPECT_THAT(data->notes,
              ElementsAre(root_ + ": 1 folder is not used: elsewhere",
                          root_ + "/train: left out 1 file that is not .jpg, .jpeg or .png: daisy/itself",
                          root_ + "/train: left out 5 folders that were already visited or enclose it (symbolic "
                                  "links lead there): all/, daisy/away again/, daisy/root/, rose/here/, rose/up/"));
  // A link that leads nowhere is a picture that cannot be read, not a missing one.
  link("nowhere.png", "train/rose/gone.png");
  EXPECT_THAT(Error(), HasSubstr("1 of 9 pictures cannot be used"));
  EXPECT_THAT(Error(), HasSubstr("train/rose/gone.png"));
  ASSERT_EQ(mkfifo(JoinPath(root_, "train/rose/pipe.png").c_str(), 0600), 0);  // opening it would block forever
  EXPECT_THAT(Error(), HasSubstr("1 of 9 pictures cannot be used"));
}

// In many data sets the test pictures come without labels.
TEST_F(ImageFolderTest, TestDataWithoutLabelsArePassedOver) {
  ASSERT_EQ(rename((root_ + "/test").c_str(), (root_ + "/val").c_str()), 0);
  const std::string picture = EncodePng(2, 2, 3, OneColor(2, 2, 1, 2, 3));
  const std::string before = CreateImageFolder().open(parameters_)->fingerprint;
  Put("test/1.png", picture);
  Put("test/2.png", picture);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->fingerprint, before);
  EXPECT_THAT(data->notes,
              ElementsAre(root_ + "/test: is not used (its 2 pictures are not in a class folder); the test "
                                  "data are those of val"));
  Remove("test/1.png");
  Remove("test/2.png");
  EXPECT_THAT(CreateImageFolder().open(parameters_)->notes,
              ElementsAre(HasSubstr("/test: is not used (it has no .jpg, .jpeg or .png file in a class folder)")));
  Put("test/unknown/1.png", picture);
  EXPECT_THAT(CreateImageFolder().open(parameters_)->notes,
              ElementsAre(HasSubstr("(it has 1 picture in the one folder unknown, which is not a class of the training "
                                    "data); the test data are those of val")));
  // A folder with labels that do not fit is not skipped.
  Put("test/Rose/1.png", picture);
  EXPECT_THAT(Error(), AllOf(HasSubstr("differ: only in train: daisy, rose; only in "),
                             HasSubstr("/test: Rose, unknown; both must have the same; " + root_ +
                                       "/val has train's classes: it would be used if " + root_ +
                                       "/test were removed or renamed")));
  Remove("test/Rose/1.png");
  Remove("test/unknown/1.png");
  Remove("test/unknown");
  Remove("test/Rose");
  Put("test/rose/1.webp", "?");
  EXPECT_THAT(Error(), HasSubstr("/test: no .jpg, .jpeg or .png file in the class folders rose; 1 picture is of a kind "
                                 "that is not read: rose/1.webp; convert them to PNG"));
  // Neither has labels.
  Remove("test/rose/1.webp");
  ASSERT_EQ(rename((root_ + "/val").c_str(), (root_ + "/labelled").c_str()), 0);
  Put("validation/1.png", picture);
  EXPECT_THAT(Error(),
              HasSubstr("no test data with labels (test: it has no .jpg, .jpeg or .png file in a class folder; "
                        "validation: its 1 picture is not in a class folder); must have a folder for each"));
}

TEST_F(ImageFolderTest, OtherNamesOfTheFolders) {
  const std::string before = CreateImageFolder().open(parameters_)->fingerprint;
  const char* const names[][2] = {
      {"training", "testing"}, {"Train", "Test"}, {"TRAIN", "Valid"}, {"Training", "val"}, {"train", "validation"}};
  std::string train = root_ + "/train", test = root_ + "/test";
  for (const auto& [train_name, test_name] : names) {
    const std::string to_train = JoinPath(root_, train_name), to_test = JoinPath(root_, test_name);
    ASSERT_EQ(rename(train.c_str(), to_train.c_str()), 0);
    ASSERT_EQ(rename(test.c_str(), to_test.c_str()), 0);
    train = to_train;
    test = to_test;
    const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
    ASSERT_TRUE(data.ok()) << train_name << data.status();
    EXPECT_EQ(data->fingerprint, before) << train_name;
    EXPECT_THAT(data->notes, IsEmpty());
  }
}

TEST_F(ImageFolderTest, TinyImageNetsAnnotations) {
  Put("val/images/val_0.JPEG", EncodePng(2, 2, 3, OneColor(2, 2, 100, 0, 0)));
  Put("val/images/val_1.JPEG", EncodePng(2, 2, 3, OneColor(2, 2, 101, 0, 0)));
  Put("val/images/val_2.JPEG", EncodePng(2, 2, 3, OneColor(2, 2, 102, 0, 0)));
  const std::string lines = "val_0.JPEG\trose\t0\t32\t44\t62\nval_1.JPEG\tdaisy\t1\t1\t2\t2\r\n";
  Put("val/val_annotations.txt", lines + "val_2.JPEG\trose\t0\t0\t1\t1\n");
  Put("test/images/test_0.JPEG", EncodePng(2, 2, 3, OneColor(2, 2, 7, 0, 0)));
  for (const char* name : {"test/rose/1.png", "test/daisy/1.jpg", "test/rose", "test/daisy"}) Remove(name);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(Values(data->test.labels), ElementsAre(0, 1, 1));
  EXPECT_THAT(Values(data->test.images.select(1, 0).select(1, 0).select(1, 0)), ElementsAre(101, 100, 102));
  EXPECT_THAT(data->notes, ElementsAre(HasSubstr("/test: is not used (it has 1 picture in the one folder images")));

  Put("val/val_annotations.txt", lines);
  EXPECT_THAT(CreateImageFolder().open(parameters_)->notes.back(),
              HasSubstr("/val: left out 1 picture without a line in val_annotations.txt: images/val_2.JPEG"));
  Put("val/val_annotations.txt", lines + "val_3.JPEG\trose\n");
  EXPECT_THAT(Error(), HasSubstr("val_annotations.txt: names 1 picture that is not in"));
  Put("val/val_annotations.txt", lines + "val_2.JPEG rose\n");
  EXPECT_THAT(Error(), HasSubstr("val_annotations.txt:3: \"val_2.JPEG rose\" is not a picture's name, a tab, and its"));
  Put("val/val_annotations.txt", lines + "val_1.JPEG\trose\n");
  EXPECT_THAT(Error(),
              HasSubstr("val_annotations.txt:3: val_1.JPEG is of the class rose, but of daisy in a line before"));
  Put("val/val_annotations.txt", lines + "val_2.JPEG\ttulip\n");
  EXPECT_THAT(Error(), AllOf(HasSubstr("differ: only in "), HasSubstr("/val: tulip")));
}

TEST_F(ImageFolderTest, OneClassInTwoUnicodeForms) {
  const std::string picture = EncodePng(2, 2, 3, OneColor(2, 2, 1, 2, 3));
  Put("train/caf\xC3\xA9/1.png", picture);
  Put("test/cafe\xCC\x81/1.png", picture);
  const std::string both =
      "\"caf\\xc3\\xa9\" and \"cafe\\xcc\\x81\" are both caf\xC3\xA9, one composed (NFC) and one decomposed (NFD";
  EXPECT_THAT(Error(), AllOf(HasSubstr("a class is written in two Unicode forms: " + both),
                             HasSubstr("the first is the folder in " + root_ + "/train"), HasSubstr("rename one")));
  Put("test/caf\xC3\xA9/1.png", picture);
  EXPECT_THAT(Error(), AllOf(HasSubstr("/test: the class folders \"cafe\\xcc\\x81\" and \"caf\\xc3\\xa9\" are both"),
                             HasSubstr("into one folder")));
  Remove("test/cafe\xCC\x81/1.png");
  Remove("test/cafe\xCC\x81");
  EXPECT_EQ(CreateImageFolder().open(parameters_)->info.classes, 3);
  // Neither name is UTF-8, and they differ.
  Put("train/\xFF/1.png", picture);
  Put("test/\xFE/1.png", picture);
  EXPECT_THAT(Error(), HasSubstr("differ: only in train: \xFF; only in"));
}

// 6: a quarter turn clockwise. 2x3 [1 2 3; 4 5 6] becomes 3x2 [4 1; 5 2; 6 3].
std::string TurnedPng(const std::string& exif_order) {
  const std::string png = EncodePng(2, 3, 1, {1, 2, 3, 4, 5, 6});
  const std::string exif = exif_order + std::string("\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0", 22);
  const std::string chunk = std::string("\0\0\0", 3) + static_cast<char>(exif.size()) + "eXIf" + exif + "????";
  return png.substr(0, png.size() - 12) + chunk +
         png.substr(png.size() - 12);  // before the last chunk, which has 12 bytes
}

TEST_F(ImageFolderTest, ExifOrientation) {
  Put("train/daisy/2.png", TurnedPng(std::string("II*\0", 4)));
  Put("test/rose/2.png", TurnedPng(std::string("II??", 4)));
  parameters_.set_grey(true);
  const absl::StatusOr<Dataset> stored = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_THAT(Values(stored->train.images[1]), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(stored->notes,
              ElementsAre(root_ + "/train: 1 of 4 pictures has an EXIF orientation, which is not applied (nor is it by "
                                  "torchvision); set exif_orientation: true to turn such pictures upright: "
                                  "daisy/2.png"));
  parameters_.set_exif_orientation(true);
  const absl::StatusOr<Dataset> turned = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(turned.ok()) << turned.status();
  EXPECT_THAT(Values(turned->train.images[1]), ElementsAre(4, 1, 5, 2));
  EXPECT_THAT(Values(turned->test.images[2]), ElementsAre(1, 2, 4, 5));
  EXPECT_THAT(turned->notes,
              ElementsAre(root_ + "/test: 1 of 3 pictures has damaged EXIF data, so that the orientation "
                                  "is not known; such pictures are used as stored: rose/2.png"));
  EXPECT_NE(turned->fingerprint, stored->fingerprint);  // other pixels, another run
}

TEST_F(ImageFolderTest, GreyOfSixteenBitsIsNoted) {
  // 2x1: 0x1234 and 0xABCD.
  const std::string header = std::string("\0\0\0\x02\0\0\0\x01\x10\0\0\0\0", 13);
  std::string png = "\x89PNG\r\n\x1a\n";
  const auto chunk = [&](const std::string& kind_and_content, const std::string& checksum) {
    png += std::string("\0\0\0", 3) + static_cast<char>(kind_and_content.size() - 4) + kind_and_content + checksum;
  };
  chunk("IHDR" + header, "\x81\xD9\xFC\x15");
  // One stored block: filter 0 and the samples; its Adler-32.
  chunk("IDAT" + std::string("\x78\x01\x01\x05\0\xFA\xFF\0\x12\x34\xAB\xCD\x03\x0C\x01\xBF", 16), "\x4C\x32\xD4\xC3");
  chunk("IEND", "\xAE\x42\x60\x82");
  Put("train/daisy/2.png", png);
  parameters_.set_image_size(1);
  const absl::StatusOr<Dataset> data = CreateImageFolder().open(parameters_);
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_THAT(data->notes,
              ElementsAre(AllOf(HasSubstr("/train: 1 of 4 pictures has grey values of 16 bits, of which the "
                                          "upper eight are used"),
                                HasSubstr(": daisy/2.png"))));
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
  EXPECT_EQ(data->fingerprint, before);  // as if the pictures did not exist
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
  EXPECT_THAT(Error(), AllOf(HasSubstr("has neither test nor val"), HasSubstr("it has the folders train")));
  Put("other/test/rose/1.png", "?");
  EXPECT_THAT(Error(), HasSubstr("has one class, rose"));
  parameters_.set_path(root_ + "/train");
  EXPECT_THAT(Error(), AllOf(HasSubstr("has no folder train"), HasSubstr("path must be the folder above it")));
  Put("unsplit/rose/1.png", "?");
  Put("unsplit/daisy/1.jpg", "?");
  parameters_.set_path(root_ + "/unsplit/");
  EXPECT_THAT(Error(), AllOf(HasSubstr("has no folder train"), HasSubstr("it has pictures in the folders daisy, rose"),
                             HasSubstr("into test/CLASS and the others into train/CLASS")));
  Put("unpacked/flowers/train/rose/1.png", "?");
  parameters_.set_path(root_ + "/unpacked");
  EXPECT_THAT(Error(), HasSubstr("its folder flowers has one: path may have to be " + root_ + "/unpacked/flowers"));
  Put("train/rose /1.png", "?");
  Put("train/empty/1.png", "?");
  parameters_.set_path(root_);
  EXPECT_THAT(Error(), HasSubstr("only in train: empty, \"rose \";"));
  Remove("train/rose /1.png");
  Remove("train/rose ");
  parameters_.set_path(root_ + "/nowhere");
  EXPECT_EQ(CreateImageFolder().describe(parameters_).status().code(), absl::StatusCode::kNotFound);
  parameters_.set_path(root_ + "/train/rose/a.png");
  EXPECT_THAT(Error(), HasSubstr("is a file"));
  Put("flat/train/1.png", "?");
  Put("flat/test/1.png", "?");
  parameters_.set_path(root_ + "/flat");
  EXPECT_THAT(Error(), HasSubstr("has no folders; must have one for each class (1 picture lies here without a class)"));
  parameters_.clear_path();
  EXPECT_THAT(Error(), HasSubstr("must be set"));
}

TEST_F(ImageFolderTest, TheMemoryLimitIsSaid) {
  parameters_.set_image_size(1000);
  parameters_.set_max_memory_mb(17);
  EXPECT_TRUE(CreateImageFolder().describe(parameters_).ok()) << "images that do not fit are not kept in memory";
  parameters_.set_cache(ImageFolder::MEMORY);
  EXPECT_THAT(Error("max_memory_mb"), AllOf(HasSubstr("is 17, but 6 images of 3x1000x1000 bytes take 19"),
                                            HasSubstr("smaller image_size or another cache")));
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
