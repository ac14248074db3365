// What is CIFAR-100's own; what it shares with CIFAR-10 is tested by cifar10_test.

#include "ml/data/cifar100.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/data/testing/cifar100_fake.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

const std::string& GoodFolder() {
  static const auto* folder = [] {
    auto* path = new std::string(testing::TempDir() + "/cifar-100-binary");
    WriteFakeCifar100(*path);
    return path;
  }();
  return *folder;
}

// Overwrites one byte of a file and gives back what was there.
char Poke(const std::string& path, int64_t offset, char value) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  char old = 0;
  file.seekg(offset).get(old);
  file.seekp(offset).put(value);
  EXPECT_TRUE(file.good());
  return old;
}

absl::Status OpenError(const std::string& path) {
  Cifar100 parameters;
  parameters.set_path(path);
  const absl::Status status = CreateCifar100().open(parameters).status();
  EXPECT_EQ(ErrorField(status), "path") << status;
  return status;
}

TEST(Cifar100Test, ReadsFineAndCoarseLabels) {
  Cifar100 parameters;
  parameters.set_path(testing::TempDir());  // the enclosing folder
  GoodFolder();
  const absl::StatusOr<Dataset> fine = CreateCifar100().open(parameters);
  ASSERT_TRUE(fine.ok()) << fine.status();
  EXPECT_EQ(fine->info.classes, 100);
  ASSERT_EQ(fine->train.images.sizes(), at::IntArrayRef({50000, 3, 32, 32}));
  ASSERT_EQ(fine->test.images.sizes(), at::IntArrayRef({10000, 3, 32, 32}));
  for (const auto& [test, record] : std::vector<std::pair<bool, int>>{{false, 0}, {false, 49999}, {true, 77}}) {
    const LabelledImages& part = test ? fine->test : fine->train;
    EXPECT_EQ(part.labels[record].item<int64_t>(), FakeCifar100Label(test, record));
    for (const auto& [channel, y, x] : std::vector<std::tuple<int, int, int>>{{0, 0, 0}, {1, 2, 3}, {2, 31, 31}}) {
      EXPECT_EQ(part.images[record][channel][y][x].item<int>(),
                FakeCifar100Pixel(test, record, channel * 1024 + y * 32 + x));
    }
  }
  parameters.set_labels(Cifar100::COARSE);
  const absl::StatusOr<Dataset> coarse = CreateCifar100().open(parameters);
  ASSERT_TRUE(coarse.ok()) << coarse.status();
  EXPECT_EQ(coarse->info.classes, 20);
  EXPECT_TRUE(at::equal(coarse->train.labels, at::floor_divide(fine->train.labels, 5)));
  EXPECT_TRUE(at::equal(coarse->train.images, fine->train.images));
  EXPECT_NE(coarse->fingerprint, fine->fingerprint);
}

TEST(Cifar100Test, SubsetsAreStratified) {
  Cifar100 parameters;
  parameters.set_path(GoodFolder());
  parameters.set_train_images(250);
  parameters.set_test_images(100);
  parameters.set_image_size(8);
  const absl::StatusOr<Dataset> data = CreateCifar100().open(parameters);
  ASSERT_TRUE(data.ok()) << data.status();
  const at::Tensor counts = at::bincount(data->train.labels, {}, 100);
  EXPECT_TRUE((counts.slice(0, 0, 50) == 3).all().item<bool>());
  EXPECT_TRUE((counts.slice(0, 50, 100) == 2).all().item<bool>());
  EXPECT_EQ(data->info.height, 8);
}

TEST(Cifar100Test, RefusesBadParameters) {
  Cifar100 parameters;
  parameters.set_train_images(99);  // less than one per class
  EXPECT_EQ(ErrorField(CreateCifar100().describe(parameters).status()), "train_images");
  parameters.set_labels(Cifar100::COARSE);
  EXPECT_TRUE(CreateCifar100().describe(parameters).ok());
  parameters.set_test_images(19);
  EXPECT_EQ(ErrorField(CreateCifar100().describe(parameters).status()), "test_images");
}

TEST(Cifar100Test, DamageIsNamed) {
  const std::string test = GoodFolder() + "/test.bin";
  char old = Poke(test, 1234 * 3074 + 1, 100);
  EXPECT_THAT(
      std::string(OpenError(GoodFolder()).message()),
      AllOf(HasSubstr("test.bin: record 1234, byte 3793317: the fine label is 100"), HasSubstr("from 0 to 99")));
  Poke(test, 1234 * 3074 + 1, old);
  old = Poke(test, 1234 * 3074, 20);
  EXPECT_THAT(std::string(OpenError(GoodFolder()).message()),
              AllOf(HasSubstr("the coarse label is 20"), HasSubstr("from 0 to 19")));
  Poke(test, 1234 * 3074, old);
  // The coarse labels of two records of different groups are exchanged, so all counts are still right.
  const char first = Poke(test, 0, static_cast<char>(FakeCifar100Label(true, 1) / 5));
  const char second = Poke(test, 3074, static_cast<char>(FakeCifar100Label(true, 0) / 5));
  ASSERT_NE(first, second);
  EXPECT_THAT(std::string(OpenError(GoodFolder()).message()),
              AllOf(HasSubstr("has fine label"), HasSubstr("with coarse label"), HasSubstr("cifar-100-binary.tar.gz")));
  Poke(test, 0, first);
  Poke(test, 3074, second);
  old = Poke(test, 1, static_cast<char>(FakeCifar100Label(true, 0) + 1));
  EXPECT_THAT(std::string(OpenError(GoodFolder()).message()),
              AllOf(HasSubstr("images by fine label 3: 99, 4: 101, where each has 100")));
  Poke(test, 1, old);
  Cifar100 parameters;
  parameters.set_path(GoodFolder());
  EXPECT_TRUE(CreateCifar100().open(parameters).ok());
}

TEST(Cifar100Test, OtherFoldersAreRecognised) {
  const std::string folder = testing::TempDir() + "/cifar10_there";
  ASSERT_TRUE(CreateFolders(folder).ok());
  std::ofstream(folder + "/data_batch_1.bin") << "?";
  EXPECT_THAT(std::string(OpenError(folder).message()),
              AllOf(HasSubstr("holds what looks like CIFAR-10 (data_batch_1.bin)"), HasSubstr("train.bin")));
  std::ofstream(folder + "/train.bin") << "?";
  EXPECT_THAT(std::string(OpenError(folder).message()), HasSubstr("lacks test.bin"));
  std::ofstream(folder + "/test.bin") << "?";
  EXPECT_THAT(std::string(OpenError(folder).message()), AllOf(HasSubstr("truncated: 1 bytes"), HasSubstr("153700000")));
}

}  // namespace
}  // namespace prunelab
