#include "ml/data/tar_shards.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/data/batches.h"
#include "ml/data/image_folder.h"
#include "ml/data/testing/picture_fake.h"
#include "ml/data/testing/tar_fake.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Members = std::vector<std::pair<std::string, std::string>>;

// A picture of random colours.
std::string RandomPicture(int seed) {
  const int64_t height = 20 + seed * 7 % 23, width = 20 + seed * 11 % 31;
  std::vector<uint8_t> pixels(height * width * 3);
  RandomStream stream(static_cast<uint64_t>(seed), "picture");
  for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(stream.Below(256));
  return seed % 3 == 0 ? EncodePng(height, width, 3, pixels) : EncodeJpeg(height, width, 3, pixels);
}

class TarShardsTest : public testing::Test {
 protected:
  void SetUp() override {
    root_ = absl::StrCat(testing::TempDir(), "/", testing::UnitTest::GetInstance()->current_test_info()->name());
    ASSERT_TRUE(CreateFolders(root_).ok());
    PutShard("train-08", {{"0.jpg", RandomPicture(1)}, {"0.cls", "0"}, {"1.jpg", RandomPicture(2)}, {"1.cls", " 1\n"}});
    PutShard("train-10", {{"3.JPEG", RandomPicture(4)}, {"3.json", "{}"}, {"3.cls", "0"}});
    PutShard("test", {{"t.jpg", RandomPicture(5)}, {"t.cls", "2"}});
    PutShard("train-09", {{"a/2.png", RandomPicture(3)}, {"a/2.cls", "2"}});
    parameters_.add_train(root_ + "/train-{08..10}.tar");
    parameters_.add_test(root_ + "/test.tar");
    parameters_.set_image_size(12);
    parameters_.set_cache_folder(root_ + "/cache");
  }

  void PutShard(const std::string& name, const Members& members) {
    ASSERT_TRUE(WriteFileAtomically(absl::StrCat(root_, "/", name, ".tar"), MakeTar(members)).ok());
  }
  absl::StatusOr<Dataset> Open() { return CreateTarShards().open(parameters_); }
  std::string Error(const char* field) {
    const absl::Status status = Open().status();
    EXPECT_EQ(ErrorField(status), field) << status;
    return std::string(status.message());
  }

  std::string root_;
  TarShards parameters_;
};

std::vector<int64_t> Values(const at::Tensor& tensor) {
  return {tensor.const_data_ptr<int64_t>(), tensor.const_data_ptr<int64_t>() + tensor.numel()};
}

TEST(ExpandBracesTest, RangesKeepTheirDigits) {
  EXPECT_THAT(*ExpandBraces("a.tar"), ElementsAre("a.tar"));
  EXPECT_THAT(*ExpandBraces("a-{08..11}.tar"), ElementsAre("a-08.tar", "a-09.tar", "a-10.tar", "a-11.tar"));
  EXPECT_THAT(*ExpandBraces("{0..1}/{9..10}"), ElementsAre("0/9", "0/10", "1/9", "1/10"));
  for (const char* bad : {"{1..0}", "{a..b}", "{1}", "{1..2", "1..2}", "}{", "{0..9999999}", "{0..999}{0..9999}",
                          "{0..18446744073709551615}", "{0..99999999999999999999}"}) {
    EXPECT_FALSE(ExpandBraces(bad).ok()) << bad;
  }
}

TEST_F(TarShardsTest, ReadsSamplesInOrder) {
  const absl::StatusOr<Dataset> data = Open();
  ASSERT_TRUE(data.ok()) << data.status();
  EXPECT_EQ(data->info.classes, 3);
  EXPECT_THAT(Values(data->train.labels), ElementsAre(0, 1, 2, 0));
  EXPECT_THAT(Values(data->test.labels), ElementsAre(2));
  EXPECT_THAT(data->notes, ElementsAre(AllOf(HasSubstr("1 file "), HasSubstr("3.json"))));
}

// The same pictures in folders and in archives, with each cache.
TEST_F(TarShardsTest, BatchesAreThoseOfAnImageFolder) {
  Members train, test;
  for (int i = 0; i < 40; ++i) {
    const std::string bytes = RandomPicture(i);
    const std::string end = i % 3 == 0 ? ".png" : ".jpg";
    const bool is_test = i % 5 == 3;
    const std::string key = absl::StrCat("c", i % 2, "_", 10 + i);
    const std::string path = absl::StrCat(root_, "/folder/", is_test ? "test" : "train", "/c", i % 2);
    ASSERT_TRUE(CreateFolders(path).ok());
    ASSERT_TRUE(WriteFileAtomically(absl::StrCat(path, "/", 10 + i, end), bytes).ok());
    (is_test ? test : train).emplace_back(key + end, bytes);
    (is_test ? test : train).emplace_back(key + ".cls", absl::StrCat(i % 2));
  }
  // In the folder's order: by class, then by name.
  const auto in_order = [](const Members& members) {
    Members ordered;
    for (const char* label : {"0", "1"}) {
      for (size_t i = 0; i < members.size(); i += 2) {
        if (members[i + 1].second == label) ordered.insert(ordered.end(), {members[i], members[i + 1]});
      }
    }
    return ordered;
  };
  PutShard("all", in_order(train));
  PutShard("test", in_order(test));
  for (const bool whole : {false, true}) {
    std::vector<at::Tensor> epoch;
    std::string fingerprint;
    Normalization normalization;
    const auto check = [&](const absl::StatusOr<Dataset>& data, const std::string& name) {
      ASSERT_TRUE(data.ok()) << name << ": " << data.status();
      Augmentation augmentation;
      augmentation.horizontal_flip = true;
      if (whole) augmentation.resized_crop.emplace();
      augmentation.color_jitter = {0.4, 0.4, 0.4, 0.1};
      TrainingBatches batches(data->train, data->normalization, augmentation, 7, 3, at::kFloat, at::kCPU);
      std::vector<at::Tensor> got;
      for (int64_t i = 0; i < batches.batches_per_epoch(); ++i) {
        const absl::StatusOr<Batch> batch = batches.Get(2, i);
        ASSERT_TRUE(batch.ok()) << name << ": " << batch.status();
        got.insert(got.end(), {batch->images, batch->labels});
      }
      EvaluationBatches evaluation(data->test, data->normalization, data->test.size(), 3, at::kFloat, at::kCPU);
      for (int64_t i = 0; i < evaluation.batches(); ++i) got.push_back(evaluation.Get(i)->images);
      got.push_back(EvaluationBatch(data->train, data->normalization, 3, 11, at::kFloat, at::kCPU)->images);
      if (epoch.empty()) {
        epoch = got;
        fingerprint = data->fingerprint;
        return;
      }
      ASSERT_EQ(got.size(), epoch.size());
      for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], epoch[i])) << name << ", tensor " << i;
      EXPECT_EQ(data->fingerprint, fingerprint) << name;
    };
    for (const char* cache : {"MEMORY", "DISK", "NONE", "AUTO", "DISK"}) {
      SCOPED_TRACE(testing::Message() << cache << (whole ? " whole" : ""));
      ImageFolder folder;
      folder.set_path(root_ + "/folder");
      folder.set_image_size(12);
      folder.set_resize(14);
      folder.set_whole_training_pictures(whole);
      folder.set_cache_folder(root_ + "/cache");
      ImageFolder::Cache folder_cache = ImageFolder::AUTO;
      ASSERT_TRUE(ImageFolder::Cache_Parse(cache, &folder_cache));
      folder.set_cache(folder_cache);
      check(CreateImageFolder().open(folder), absl::StrCat("folder ", cache));
      TarShards shards = parameters_;
      shards.clear_train();
      shards.add_train(root_ + "/all.tar");
      shards.set_resize(14);
      shards.set_whole_training_pictures(whole);
      TarShards::Cache shards_cache = TarShards::AUTO;
      ASSERT_TRUE(TarShards::Cache_Parse(cache, &shards_cache));
      shards.set_cache(shards_cache);
      check(CreateTarShards().open(shards), absl::StrCat("shards ", cache));
    }
  }
}

TEST_F(TarShardsTest, WhatIsWrongIsNamed) {
  parameters_.set_classes(2);
  EXPECT_THAT(Error("classes"), AllOf(HasSubstr("is 2"), HasSubstr("the largest class in the archives is 2")));
  parameters_.set_classes(5);
  EXPECT_THAT(Error("train"), HasSubstr("has no picture of the classes 3, 4 of 5"));
  parameters_.set_classes(int64_t{1} << 40);
  EXPECT_THAT(Error("classes"), HasSubstr("at most 1048576"));
  parameters_.clear_classes();
  PutShard("train-10", {{"3.jpg", RandomPicture(4)}});
  EXPECT_THAT(Error("train"), AllOf(HasSubstr("train-10.tar: 3.jpg has no 3.cls")));
  PutShard("train-10", {{"3.cls", "1"}});
  EXPECT_THAT(Error("train"), HasSubstr("3.cls has no picture"));
  PutShard("train-10", {{"3.jpg", "?"}, {"3.png", "?"}, {"3.cls", "1"}});
  EXPECT_THAT(Error("train"), HasSubstr("3.jpg and 3.png are two pictures of one sample"));
  PutShard("train-10", {{"3.jpg", "?"}, {"3.cls", "cat"}});
  EXPECT_THAT(Error("train"), HasSubstr("3.cls is no class; must be a number from 0 on"));
  PutShard("train-10", {{"3.jpg", "?"}, {"3.cls", "1"}});
  EXPECT_THAT(Error("train"),
              AllOf(HasSubstr("1 of 5 pictures cannot be used"), HasSubstr("train-10.tar: 3.jpg: is neither")));
  parameters_.set_on_bad_image(TarShards::SKIP);
  EXPECT_EQ(Open()->train.size(), 3);
  PutShard("train-10", {{"3.txt", "?"}});
  EXPECT_TRUE(Open().ok());
  PutShard("train-10", {{"._3.cls", "?"}, {"3.cls", "1"}, {"._3.jpg", "?"}, {"3.jpg", RandomPicture(4)}});
  EXPECT_EQ(Open()->train.size(), 4);
  PutShard("train-10", {});
  EXPECT_THAT(Error("train"), HasSubstr("train-10.tar: holds no file"));
  ASSERT_TRUE(WriteFileAtomically(root_ + "/train-10.tar", std::string(600, '?')).ok());
  EXPECT_THAT(Error("train"), HasSubstr("train-10.tar: byte 0: a header's checksum is wrong"));
  parameters_.clear_train();
  EXPECT_THAT(Error("train"), HasSubstr("must be set"));
  parameters_.add_train(root_ + "/nowhere.tar");
  EXPECT_EQ(Open().status().code(), absl::StatusCode::kNotFound);
  parameters_.set_train(0, "{3..1}.tar");
  EXPECT_THAT(Error("train"), HasSubstr("runs backwards"));
}

TEST_F(TarShardsTest, AnArchiveThatChangesWhileItIsReadIsAnError) {
  parameters_.set_cache(TarShards::NONE);
  const absl::StatusOr<Dataset> data = Open();
  ASSERT_TRUE(data.ok()) << data.status();
  std::vector<uint8_t> out(3 * 12 * 12);
  EXPECT_TRUE(data->train.source->Read(0, out.data()).ok());
  PutShard("train-08", {{"0.jpg", RandomPicture(9)}, {"0.cls", "0"}, {"1.jpg", RandomPicture(2)}, {"1.cls", "1"}});
  const absl::Status status = data->train.source->Read(0, out.data());
  EXPECT_TRUE(absl::IsAborted(status)) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr("train-08.tar: has changed"));
  EXPECT_NE(Open()->fingerprint, data->fingerprint) << "the index is made again";
}

}  // namespace
}  // namespace prunelab
