#include "ml/data/picture_store.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/base/digest.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/random.h"
#include "ml/data/testing/picture_fake.h"

namespace prunelab {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr int64_t kSize = 10;

// Pictures that are made when they are read. All processes count the readings together.
class FakeFiles : public PictureFiles {
 public:
  FakeFiles(int64_t count, int seed) : seed_(seed) {
    for (int64_t i = 0; i < count; ++i) labels_.push_back(i % 2);
  }
  const std::string& place() const override { return place_; }
  std::string AbsolutePlace() const override { return place_; }
  const std::vector<std::string>& classes() const override { return classes_; }
  const std::vector<int64_t>& labels() const override { return labels_; }
  std::string Name(int64_t picture) const override { return absl::StrCat("/fake/", picture); }
  std::string ShortName(int64_t picture) const override { return absl::StrCat(picture); }
  absl::StatusOr<std::string> Read(int64_t picture) const override {
    ++*reads_;
    if (delay_ms > 0) std::this_thread::sleep_for(std::chrono::milliseconds(delay_ms));
    if (picture == bad) return std::string("no picture");
    if (picture == unreadable) return absl::PermissionDeniedError("not now");
    const int64_t height = 11 + picture % 5, width = 17 - picture % 7;
    std::vector<uint8_t> pixels(height * width * 3);
    RandomStream stream(static_cast<uint64_t>(seed_), "pixels", picture);
    for (uint8_t& pixel : pixels) pixel = static_cast<uint8_t>(stream.Below(256));
    return EncodePng(height, width, 3, pixels);
  }
  absl::StatusOr<std::string> Stamp() override { return Sha256(absl::StrCat(seed_, " ", labels_.size(), " ", bad)); }

  int TakeReads() { return reads_->exchange(0); }

  int64_t bad = -1, unreadable = -1;
  int delay_ms = 0;

 private:
  static std::atomic<int>* SharedCounter() {
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return new (page) std::atomic<int>(0);
  }
  const int seed_;
  const std::string place_ = "/fake";
  const std::vector<std::string> classes_ = {"a", "b"};
  std::vector<int64_t> labels_;
  std::atomic<int>* const reads_ = SharedCounter();
};

class PictureStoreTest : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string name = testing::UnitTest::GetInstance()->current_test_info()->name();
    for (char& c : name) c = c == '/' ? '_' : c;
    storage_.folder = absl::StrCat(testing::TempDir(), "/", name);
    storage_.max_bytes = 1 << 20;
    form_.image_size = form_.resize = kSize;
    form_.whole = GetParam();
  }

  absl::StatusOr<StoredPictures> Store(const std::shared_ptr<FakeFiles>& files, PictureCache cache) {
    storage_.cache = cache;
    return StorePictures(files, form_, storage_);
  }

  // Files of the cache whose names begin so.
  std::vector<std::string> Files(const std::string& prefix) {
    const std::string folder = storage_.folder + "/pictures";
    const absl::StatusOr<std::vector<std::string>> places = ListFolder(folder);
    std::vector<std::string> found;
    if (!places.ok()) return found;
    for (const std::string& place : *places) {
      const absl::StatusOr<std::vector<std::string>> names = ListFolder(JoinPath(folder, place));
      if (!names.ok()) continue;
      for (const std::string& name : *names) {
        if (absl::StartsWith(name, prefix)) found.push_back(JoinPath(JoinPath(folder, place), name));
      }
    }
    return found;
  }

  PictureForm form_;
  PictureStorage storage_;
};

// All images, and of whole pictures all pixels.
absl::StatusOr<std::vector<std::vector<uint8_t>>> Pixels(const LabelledImages& data) {
  std::vector<std::vector<uint8_t>> all;
  for (int64_t i = 0; i < data.size(); ++i) {
    std::vector<uint8_t> image(3 * kSize * kSize);
    if (data.source == nullptr) {
      const uint8_t* from = data.images.const_data_ptr<uint8_t>() + i * static_cast<int64_t>(image.size());
      image.assign(from, from + image.size());
    } else {
      const absl::Status read = data.source->Read(i, image.data());
      if (!read.ok()) return read;
      if (data.source->has_whole_pictures()) {
        const absl::StatusOr<HeldPicture> whole = data.source->ReadWhole(i);
        if (!whole.ok()) return whole.status();
        const PixelView& view = whole->view;
        image.insert(image.end(), view.pixels, view.pixels + view.height * view.row_bytes);
      }
    }
    all.push_back(std::move(image));
  }
  return all;
}

TEST_P(PictureStoreTest, EveryCacheGivesTheSameAndDecodesNoMoreThanItSays) {
  const auto files = std::make_shared<FakeFiles>(50, 1);
  const absl::StatusOr<StoredPictures> memory = Store(files, PictureCache::kMemory);
  ASSERT_TRUE(memory.ok()) << memory.status();
  EXPECT_EQ(files->TakeReads(), 50);
  const auto expected = *Pixels(memory->data);
  EXPECT_EQ(files->TakeReads(), 0);
  EXPECT_THAT(Files(""), IsEmpty()) << "nothing is written for images in memory";
  const std::string line = DataFingerprint(memory->data, memory->data);

  const absl::StatusOr<StoredPictures> none = Store(files, PictureCache::kNone);
  ASSERT_TRUE(none.ok()) << none.status();
  EXPECT_EQ(files->TakeReads(), 50);
  EXPECT_EQ(*Pixels(none->data), expected);
  EXPECT_EQ(files->TakeReads(), GetParam() ? 100 : 50);
  EXPECT_EQ(DataFingerprint(none->data, none->data), line);
  EXPECT_EQ(*Pixels(Store(files, PictureCache::kNone)->data), expected);
  EXPECT_EQ(files->TakeReads(), GetParam() ? 100 : 50) << "the index is found again";

  const absl::StatusOr<StoredPictures> disk = Store(files, PictureCache::kDisk);
  ASSERT_TRUE(disk.ok()) << disk.status();
  EXPECT_EQ(files->TakeReads(), 50);
  EXPECT_EQ(*Pixels(disk->data), expected);
  EXPECT_EQ(*Pixels(Store(files, PictureCache::kDisk)->data), expected);
  EXPECT_EQ(files->TakeReads(), 0) << "the cache is found again";
  EXPECT_EQ(DataFingerprint(disk->data, disk->data), line);
  for (const auto* stored : {&*memory, &*none, &*disk}) {
    EXPECT_TRUE(at::equal(stored->data.labels, memory->data.labels));
    EXPECT_EQ(stored->data.cut, !GetParam());
  }
}

TEST_P(PictureStoreTest, BadPicturesAreLeftOutAndRemembered) {
  const auto files = std::make_shared<FakeFiles>(9, 2);
  files->bad = 4;
  for (const PictureCache cache :
       {PictureCache::kMemory, PictureCache::kNone, PictureCache::kNone, PictureCache::kDisk, PictureCache::kDisk}) {
    const absl::StatusOr<StoredPictures> stored = Store(files, cache);
    ASSERT_TRUE(stored.ok()) << stored.status();
    EXPECT_THAT(stored->bad, ElementsAre(HasSubstr("/fake/4: is neither JPEG nor PNG")));
    EXPECT_THAT(stored->pictures, ElementsAre(0, 1, 2, 3, 5, 6, 7, 8));
    EXPECT_EQ(Pixels(stored->data)->size(), 8u);
  }
}

TEST_P(PictureStoreTest, WhatHasChangedIsMadeAgain) {
  ASSERT_TRUE(Store(std::make_shared<FakeFiles>(12, 3), PictureCache::kDisk).ok());
  const std::vector<std::string> before = Files("index");
  const auto changed = std::make_shared<FakeFiles>(12, 4);
  const absl::StatusOr<StoredPictures> stored = Store(changed, PictureCache::kDisk);
  ASSERT_TRUE(stored.ok()) << stored.status();
  EXPECT_EQ(changed->TakeReads(), 12);
  EXPECT_EQ(*Pixels(stored->data), *Pixels(Store(changed, PictureCache::kMemory)->data));
  // The old one may be in use by another machine, and is removed a day later.
  EXPECT_EQ(Files("index").size(), 2u);
  EXPECT_EQ(Files("pixels").size(), 2u);
  for (const std::vector<std::string>& names : {Files("index"), Files("pixels")}) {
    for (const std::string& name : names) {
      const timespec old[2] = {{0, UTIME_OMIT}, {1000000000, 0}};
      ASSERT_EQ(utimensat(AT_FDCWD, name.c_str(), old, 0), 0);
    }
  }
  const auto again = std::make_shared<FakeFiles>(12, 30);
  ASSERT_TRUE(Store(again, PictureCache::kDisk).ok());
  EXPECT_EQ(Files("index").size(), 1u);
  EXPECT_EQ(Files("pixels").size(), 1u);
  EXPECT_NE(Files("index"), before);
}

TEST_P(PictureStoreTest, APictureThatCannotBeReadNowIsNoBadOne) {
  const auto files = std::make_shared<FakeFiles>(12, 31);
  files->unreadable = 5;
  for (const PictureCache cache : {PictureCache::kMemory, PictureCache::kNone, PictureCache::kDisk}) {
    const absl::Status status = Store(files, cache).status();
    EXPECT_TRUE(absl::IsPermissionDenied(status)) << status;
    EXPECT_THAT(Files("index"), IsEmpty()) << "nothing is kept in mind";
    EXPECT_THAT(Files("pixels"), IsEmpty());
  }
  files->unreadable = -1;
  EXPECT_EQ(Store(files, PictureCache::kNone)->pictures.size(), 12u);
}

TEST_P(PictureStoreTest, AFolderThatCannotBeMadeIsTheFieldsError) {
  ASSERT_TRUE(WriteFileAtomically(storage_.folder, "a file").ok());
  const absl::Status status = Store(std::make_shared<FakeFiles>(3, 32), PictureCache::kNone).status();
  EXPECT_EQ(ErrorField(status), "cache_folder") << status;
}

TEST_P(PictureStoreTest, ADamagedCacheIsNotUsed) {
  const auto files = std::make_shared<FakeFiles>(12, 5);
  const auto expected = *Pixels(Store(files, PictureCache::kDisk)->data);
  const std::string shard = Files("pixels").at(0), index = Files("index").at(0);
  const std::string pixels = *ReadFile(shard);
  std::string flipped = pixels;
  flipped[flipped.size() / 2] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(shard, flipped).ok());
  const absl::Status read = Pixels(Store(files, PictureCache::kDisk)->data).status();
  EXPECT_TRUE(absl::IsAborted(read)) << read;
  EXPECT_THAT(std::string(read.message()), testing::AllOf(HasSubstr(shard), HasSubstr("remove the file")));
  // Removed, cut off, or with a damaged index, the cache is made again.
  const auto made_again = [&] {
    files->TakeReads();
    EXPECT_EQ(*Pixels(Store(files, PictureCache::kDisk)->data), expected);
    EXPECT_EQ(files->TakeReads(), 12);
  };
  ASSERT_EQ(unlink(shard.c_str()), 0);
  made_again();
  ASSERT_TRUE(WriteFileAtomically(shard, pixels.substr(1)).ok());
  made_again();
  const std::string whole_index = *ReadFile(index);
  for (const size_t size : {size_t{0}, size_t{7}, whole_index.size() / 2, whole_index.size() - 1}) {
    ASSERT_TRUE(WriteFileAtomically(index, whole_index.substr(0, size)).ok());
    made_again();
  }
  // While images are read, a shard that is gone is an error.
  const absl::StatusOr<StoredPictures> stored = Store(files, PictureCache::kDisk);
  ASSERT_EQ(unlink(shard.c_str()), 0);
  EXPECT_TRUE(absl::IsAborted(Pixels(stored->data).status()));
}

// What a child process makes of the store: 0 if all is as expected.
template <typename Work>
pid_t Fork(const Work& work) {
  const pid_t child = fork();
  if (child == 0) _exit(work() ? 0 : 1);
  return child;
}

TEST_P(PictureStoreTest, ProcessesShareACacheAndOneDecodes) {
  const auto files = std::make_shared<FakeFiles>(40, 6);
  const auto expected = *Pixels(Store(files, PictureCache::kMemory)->data);
  files->TakeReads();
  files->delay_ms = 5;
  std::vector<pid_t> children;
  for (int i = 0; i < 3; ++i) {
    children.push_back(Fork([&] {
      const absl::StatusOr<StoredPictures> stored = Store(files, PictureCache::kDisk);
      if (!stored.ok()) return false;
      const auto pixels = Pixels(stored->data);
      return pixels.ok() && *pixels == expected;
    }));
  }
  for (const pid_t child : children) {
    int status = -1;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  }
  EXPECT_EQ(files->TakeReads(), 40);
}

TEST_P(PictureStoreTest, AKilledProcessLeavesNothingThatMisleads) {
  const auto files = std::make_shared<FakeFiles>(40, 7);
  const auto expected = *Pixels(Store(files, PictureCache::kMemory)->data);
  files->delay_ms = 2;
  for (const int reads : {1, 17, 39}) {
    files->TakeReads();
    const pid_t child = Fork([&] { return Store(files, PictureCache::kDisk).ok(); });
    int seen = 0;
    while (seen < reads) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      seen = files->TakeReads() + seen;
    }
    kill(child, SIGKILL);
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
  }
  EXPECT_EQ(*Pixels(Store(files, PictureCache::kDisk)->data), expected);
  EXPECT_THAT(Files(""), Each(testing::Not(HasSubstr(".tmp."))));
}

INSTANTIATE_TEST_SUITE_P(CutAndWhole, PictureStoreTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "whole" : "cut"; });

TEST(WholePicturesTest, TheMemoryLimitIsSaid) {
  PictureForm form;
  form.image_size = form.resize = kSize;
  form.whole = true;
  PictureStorage storage;
  storage.max_bytes = 3000;
  const absl::Status status = StorePictures(std::make_shared<FakeFiles>(20, 8), form, storage).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
  EXPECT_THAT(std::string(status.message()),
              testing::AllOf(HasSubstr("of 20 whole pictures take "), HasSubstr("at most 3000 are allowed")));
}

TEST(WholePicturesTest, TheShorterSideIsScaledDown) {
  PictureForm form;
  form.image_size = form.resize = 5;
  form.whole = true;
  form.whole_shorter_side = 8;
  PictureStorage storage;
  storage.max_bytes = 1 << 20;
  const absl::StatusOr<StoredPictures> stored = StorePictures(std::make_shared<FakeFiles>(5, 9), form, storage);
  ASSERT_TRUE(stored.ok()) << stored.status();
  for (int64_t i = 0; i < 5; ++i) {
    const absl::StatusOr<HeldPicture> whole = stored->data.source->ReadWhole(i);
    EXPECT_EQ(std::min(whole->view.height, whole->view.width), 8);
    EXPECT_GT(std::max(whole->view.height, whole->view.width), 7);
  }
}

TEST(EighthOfMemoryTest, IsSomethingLikeIt) {
  EXPECT_GT(EighthOfMemory(), int64_t{1} << 25);
  EXPECT_LT(EighthOfMemory(), int64_t{1} << 42);
}

}  // namespace
}  // namespace prunelab
