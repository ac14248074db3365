#include "ml/data/cifar10.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/data/testing/cifar10_fake.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// One set of good files for all tests; a test that spoils one makes a folder of links and replaces a link.
const std::string& GoodFolder() {
  static const auto* folder = [] {
    auto* path = new std::string(testing::TempDir() + "/good");
    WriteFakeCifar10(*path);
    return path;
  }();
  return *folder;
}

const char* const kNames[] = {"data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin",
                              "data_batch_4.bin", "data_batch_5.bin", "test_batch.bin"};

class Cifar10Test : public testing::Test {
 protected:
  // This test's own folder, under the temporary folder; empty except for the links.
  std::string MakeFolder(const std::string& name, bool with_links) {
    const std::string folder =
        absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name(), "/", name);
    EXPECT_TRUE(CreateFolders(folder).ok());
    for (const char* file : kNames) {
      if (with_links) {
        EXPECT_EQ(symlink(JoinPath(GoodFolder(), file).c_str(), JoinPath(folder, file).c_str()), 0);
      }
    }
    return folder;
  }

  // Replaces a link by a file.
  void Put(const std::string& path, const std::string& bytes) {
    unlink(path.c_str());
    std::ofstream out(path, std::ios::binary);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    ASSERT_TRUE(out.good());
  }

  absl::Status OpenError(const std::string& path) {
    Cifar10 parameters;
    parameters.set_path(path);
    const absl::Status status = CreateCifar10().open(parameters).status();
    EXPECT_EQ(ErrorField(status), "path") << status;
    return status;
  }
};

MATCHER_P2(Fails, code, message, "") {
  return arg.code() == code && testing::ExplainMatchResult(message, std::string(arg.message()), result_listener);
}

TEST_F(Cifar10Test, ReadsRecordsInOrder) {
  Cifar10 parameters;
  parameters.set_path(GoodFolder());
  const absl::StatusOr<Dataset> data = CreateCifar10().open(parameters);
  ASSERT_TRUE(data.ok()) << data.status();
  ASSERT_EQ(data->train.images.sizes(), at::IntArrayRef({50000, 3, 32, 32}));
  ASSERT_EQ(data->test.images.sizes(), at::IntArrayRef({10000, 3, 32, 32}));
  for (const auto& [file, record] :
       std::vector<std::pair<int, int>>{{0, 0}, {0, 9999}, {2, 4321}, {4, 9999}, {5, 77}}) {
    const LabelledImages& part = file == 5 ? data->test : data->train;
    const int64_t i = file == 5 ? record : file * 10000 + record;
    EXPECT_EQ(part.labels[i].item<int64_t>(), FakeCifar10Label(file, record));
    for (const auto& [channel, y, x] : std::vector<std::tuple<int, int, int>>{{0, 0, 0}, {1, 2, 3}, {2, 31, 31}}) {
      EXPECT_EQ(part.images[i][channel][y][x].item<int>(), FakeCifar10Pixel(file, record, channel * 1024 + y * 32 + x));
    }
  }
  EXPECT_EQ(data->normalization.scale, 1.0 / 255);
  EXPECT_THAT(data->normalization.mean, testing::ElementsAre(0.5, 0.5, 0.5));
  EXPECT_THAT(data->normalization.stddev, testing::ElementsAre(0.5, 0.5, 0.5));
}

TEST_F(Cifar10Test, TakesTheFolderAboveAndRelativePaths) {
  const std::string folder = MakeFolder("cifar-10-batches-bin", true);
  setenv("BUILD_WORKING_DIRECTORY", testing::TempDir().c_str(), 1);
  for (const char* path : {"TakesTheFolderAboveAndRelativePaths", "TakesTheFolderAboveAndRelativePaths/",
                           "TakesTheFolderAboveAndRelativePaths/cifar-10-batches-bin"}) {
    Cifar10 parameters;
    parameters.set_path(path);
    parameters.set_train_images(10);
    parameters.set_test_images(10);
    EXPECT_TRUE(CreateCifar10().open(parameters).ok()) << CreateCifar10().open(parameters).status();
  }
  unsetenv("BUILD_WORKING_DIRECTORY");
}

TEST_F(Cifar10Test, SubsetsAreStratifiedSeededAndNested) {
  Cifar10 parameters;
  parameters.set_path(GoodFolder());
  parameters.set_train_images(203);
  parameters.set_test_images(50);
  const Dataset large = *CreateCifar10().open(parameters);
  EXPECT_EQ(large.train.size(), 203);
  const at::Tensor counts = at::bincount(large.train.labels, {}, 10);
  EXPECT_TRUE(at::equal(counts, at::tensor({21, 21, 21, 20, 20, 20, 20, 20, 20, 20}, at::kLong))) << counts;
  EXPECT_TRUE(at::equal(at::bincount(large.test.labels, {}, 10), at::full({10}, 5, at::kLong)));

  parameters.set_train_images(100);
  const Dataset small = *CreateCifar10().open(parameters);
  const at::Tensor same =
      at::cdist(small.train.images.flatten(1).to(at::kDouble), large.train.images.flatten(1).to(at::kDouble), 1) == 0;
  EXPECT_TRUE(same.any(1).all().item<bool>()) << "the smaller subset is no part of the larger one";

  parameters.set_subset_seed(2);
  const Dataset other = *CreateCifar10().open(parameters);
  EXPECT_FALSE(at::equal(other.train.images, small.train.images));
  EXPECT_NE(other.fingerprint, small.fingerprint);
}

TEST_F(Cifar10Test, ShrinksByAreaRoundedToTheNearest) {
  Cifar10 parameters;
  parameters.set_path(GoodFolder());
  parameters.set_train_images(30);
  parameters.set_test_images(10);
  const at::Tensor full = CreateCifar10().open(parameters)->train.images;
  for (const int64_t size : {16, 8, 4, 2, 1}) {
    parameters.set_image_size(size);
    const Dataset data = *CreateCifar10().open(parameters);
    const at::Tensor mean = at::avg_pool2d(full.to(at::kDouble), {32 / size, 32 / size});
    EXPECT_TRUE(at::equal(data.train.images, at::floor(mean + 0.5).to(at::kByte))) << size;
    EXPECT_EQ(data.info.height, size);
  }
}

TEST_F(Cifar10Test, NormalizationIsTaken) {
  Cifar10 parameters;
  parameters.set_path(GoodFolder());
  parameters.set_train_images(10);
  parameters.set_test_images(10);
  for (const double mean : {0.4914, 0.4822, 0.4465}) parameters.add_mean(mean);
  for (const double stddev : {0.2470, 0.2435, 0.2616}) parameters.add_stddev(stddev);
  const Dataset data = *CreateCifar10().open(parameters);
  EXPECT_THAT(data.normalization.mean, testing::ElementsAre(0.4914, 0.4822, 0.4465));
  EXPECT_THAT(data.normalization.stddev, testing::ElementsAre(0.2470, 0.2435, 0.2616));
}

TEST_F(Cifar10Test, DescribeNeedsNoFiles) {
  Cifar10 parameters;
  parameters.set_path("/no/such/folder");
  const DatasetInfo info = *CreateCifar10().describe(parameters);
  EXPECT_EQ(info.classes, 10);
  EXPECT_EQ(info.channels, 3);
  EXPECT_EQ(info.height, 32);
  EXPECT_EQ(info.train_images, 50000);
  EXPECT_EQ(info.test_images, 10000);
}

TEST_F(Cifar10Test, RefusesBadParameters) {
  const struct {
    const char* field;
    std::function<void(Cifar10&)> spoil;
  } cases[] = {
      {"train_images", [](Cifar10& p) { p.set_train_images(9); }},
      {"train_images", [](Cifar10& p) { p.set_train_images(50001); }},
      {"train_images", [](Cifar10& p) { p.set_train_images(-1); }},
      {"test_images", [](Cifar10& p) { p.set_test_images(10001); }},
      {"image_size", [](Cifar10& p) { p.set_image_size(0); }},
      {"image_size", [](Cifar10& p) { p.set_image_size(12); }},
      {"image_size", [](Cifar10& p) { p.set_image_size(64); }},
      {"mean", [](Cifar10& p) { p.add_mean(0.5); }},
      {"mean", [](Cifar10& p) { p.add_mean(0), p.add_mean(std::nan("")), p.add_mean(0); }},
      {"stddev", [](Cifar10& p) { p.add_stddev(1), p.add_stddev(0), p.add_stddev(1); }},
  };
  for (const auto& bad : cases) {
    Cifar10 parameters;
    bad.spoil(parameters);
    EXPECT_EQ(ErrorField(CreateCifar10().describe(parameters).status()), bad.field) << parameters.DebugString();
    EXPECT_EQ(ErrorField(CreateCifar10().open(parameters).status()), bad.field) << parameters.DebugString();
  }
}

TEST_F(Cifar10Test, FolderMissing) {
  EXPECT_THAT(OpenError("/no/such/cifar-10-batches-bin/"),
              Fails(absl::StatusCode::kNotFound, AllOf(HasSubstr("/no/such/cifar-10-batches-bin"),
                                                       HasSubstr("no such folder"), HasSubstr("cifar-10-binary.tar.gz"),
                                                       HasSubstr("tar -xzf cifar-10-binary.tar.gz -C /no/such"))));
  EXPECT_THAT(OpenError("/no/data"), Fails(absl::StatusCode::kNotFound, HasSubstr("-C /no/data")));
  EXPECT_THAT(OpenError(""), Fails(absl::StatusCode::kInvalidArgument, HasSubstr("is empty")));
}

TEST_F(Cifar10Test, FileMissing) {
  const std::string folder = MakeFolder("links", true);
  unlink(JoinPath(folder, "data_batch_4.bin").c_str());
  EXPECT_THAT(OpenError(folder), Fails(absl::StatusCode::kNotFound,
                                       AllOf(HasSubstr(folder + ": lacks data_batch_4.bin;"), HasSubstr("unpack"))));
}

TEST_F(Cifar10Test, FileTruncated) {
  const std::string folder = MakeFolder("links", true);
  Put(folder + "/data_batch_3.bin", ReadFile(GoodFolder() + "/data_batch_3.bin")->substr(0, 30729999));
  EXPECT_THAT(OpenError(folder),
              Fails(absl::StatusCode::kDataLoss,
                    AllOf(HasSubstr("data_batch_3.bin: is truncated"), HasSubstr("30729999"), HasSubstr("30730000"))));
  Put(folder + "/data_batch_3.bin", "");
  EXPECT_THAT(OpenError(folder), Fails(absl::StatusCode::kDataLoss, HasSubstr("is truncated: 0 bytes")));
}

TEST_F(Cifar10Test, FileTooLong) {
  const std::string folder = MakeFolder("links", true);
  Put(folder + "/test_batch.bin", *ReadFile(GoodFolder() + "/test_batch.bin") + "x");
  EXPECT_THAT(OpenError(folder),
              Fails(absl::StatusCode::kDataLoss,
                    AllOf(HasSubstr("test_batch.bin: is too long"), HasSubstr("30730001"), HasSubstr("30730000"))));
}

TEST_F(Cifar10Test, LabelOverNine) {
  const std::string folder = MakeFolder("links", true);
  std::string bytes = *ReadFile(GoodFolder() + "/data_batch_2.bin");
  bytes[1234 * 3073] = 10;
  Put(folder + "/data_batch_2.bin", bytes);
  EXPECT_THAT(OpenError(folder), Fails(absl::StatusCode::kDataLoss,
                                       AllOf(HasSubstr("data_batch_2.bin: record 1234, byte 3792082: the label is 10"),
                                             HasSubstr("from 0 to 9"))));
}

TEST_F(Cifar10Test, ClassCounts) {
  const std::string folder = MakeFolder("links", true);
  std::string bytes = *ReadFile(GoodFolder() + "/test_batch.bin");
  ASSERT_EQ(bytes[0], 5);
  bytes[0] = 6;
  Put(folder + "/test_batch.bin", bytes);
  EXPECT_THAT(OpenError(folder), Fails(absl::StatusCode::kDataLoss,
                                       AllOf(HasSubstr("test_batch.bin: not CIFAR-10"), HasSubstr("5: 999, 6: 1001"))));
  unlink(JoinPath(folder, "test_batch.bin").c_str());
  Put(folder + "/test_batch.bin", *ReadFile(GoodFolder() + "/test_batch.bin"));
  bytes = *ReadFile(GoodFolder() + "/data_batch_5.bin");
  bytes[0] = 9;
  Put(folder + "/data_batch_5.bin", bytes);
  EXPECT_THAT(OpenError(folder),
              Fails(absl::StatusCode::kDataLoss, AllOf(HasSubstr("data_batch_1.bin and the other files: not CIFAR-10"),
                                                       HasSubstr("each has 5000"))));
}

TEST_F(Cifar10Test, OtherVersionsAreRecognised) {
  const std::pair<const char*, const char*> signs[] = {
      {"data_batch_1", "the Python version of CIFAR-10"},
      {"data_batch_1.mat", "the Matlab version"},
      {"train.bin", "CIFAR-100"},
      {"cifar-10-binary.tar.gz", "the archive, not yet unpacked"},
      {"cifar-10-python.tar.gz", "the Python version of CIFAR-10"},
  };
  for (const auto& [name, what] : signs) {
    const std::string folder = MakeFolder(std::string("with_") + name, false);
    Put(JoinPath(folder, name), "?");
    EXPECT_THAT(OpenError(folder),
                Fails(absl::StatusCode::kNotFound, AllOf(HasSubstr(what), HasSubstr("cifar-10-binary.tar.gz"))));
  }
  EXPECT_THAT(OpenError(MakeFolder("empty", false)),
              Fails(absl::StatusCode::kNotFound, HasSubstr("holds none of CIFAR-10's files")));
}

TEST_F(Cifar10Test, ContentsAreRecognised) {
  const std::string folder = MakeFolder("links", true);
  const std::pair<std::string, const char*> contents[] = {
      {"\x1f\x8b\x08 and so on", "a gzip archive"},
      {"\x80\x02}q\x01(U\x0b", "a Python pickle"},
      {"MATLAB 5.0 MAT-file", "a Matlab file"},
      {"<!DOCTYPE html>", "a web page"},
  };
  for (const auto& [bytes, what] : contents) {
    Put(folder + "/data_batch_1.bin", bytes);
    EXPECT_THAT(OpenError(folder),
                Fails(absl::StatusCode::kDataLoss, AllOf(HasSubstr("data_batch_1.bin"), HasSubstr(what))));
  }
}

TEST_F(Cifar10Test, PathIsAFile) {
  const std::string folder = MakeFolder("files", false);
  Put(folder + "/cifar-10-binary.tar.gz", "\x1f\x8b\x08");
  EXPECT_THAT(OpenError(folder + "/cifar-10-binary.tar.gz"),
              Fails(absl::StatusCode::kInvalidArgument,
                    AllOf(HasSubstr("is a gzip archive, where the folder"), HasSubstr("-C " + folder))));
  Put(folder + "/notes", "hello");
  EXPECT_THAT(OpenError(folder + "/notes"), Fails(absl::StatusCode::kInvalidArgument,
                                                  HasSubstr("is text that begins with \"hello\", where the folder")));
}

}  // namespace
}  // namespace prunelab
