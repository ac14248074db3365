#include "experiments/runs/tensorboard_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "experiments/runs/tensorboard_events.pb.h"
#include "experiments/runs/tensorboard_values.h"
#include "ml/base/files.h"
#include "ml/base/testing/fresh_folder.h"

namespace prunelab {
namespace {

// The events of a file; their frames are checked by writing them again.
std::vector<tensorboard::Event> Events(const std::string& path) {
  const std::string bytes = ReadFile(path).value();
  std::vector<tensorboard::Event> events;
  for (size_t at = 0; at < bytes.size();) {
    uint64_t size = 0;
    std::memcpy(&size, bytes.data() + at, sizeof(size));
    const std::string event = bytes.substr(at + 12, size);
    EXPECT_EQ(bytes.substr(at, size + 16), TensorboardFrame(event));
    EXPECT_TRUE(events.emplace_back().ParseFromString(event));
    at += size + 16;
  }
  return events;
}

// The bytes are those that TensorBoard's own classes write for the same events.
TEST(TensorboardWriterTest, WritesWhatTensorboardWrites) {
  double time = 99;
  TensorboardWriter writer =
      TensorboardWriter::Create(FreshFolder("tensorboard_bytes"), 0, [&] { return ++time; }).value();
  writer.AddHyperparameters({{"arm", "none/cov"}}, {}, "none/cov");
  writer.AddHyperparameters({}, {{"seed", 3}}, "none/cov");
  writer.AddScalar("test_top1", 0.8125, 7);
  writer.AddScalar("train_loss", std::numeric_limits<double>::quiet_NaN(), 7);
  writer.AddHistogram("importance/conv1", {5.0, 1.0, 2.5, 2.0}, 7, 4);
  writer.AddEnd(true);
  ASSERT_TRUE(writer.Flush().ok());
  const std::string bytes = ReadFile(writer.path()).value();
  EXPECT_EQ(absl::BytesToHexString(bytes), absl::StrJoin(kTensorboardFrames, ""));
}

TEST(TensorboardWriterTest, ARunThatGoesOnBeginsANewFileFromItsEpoch) {
  const std::string folder = FreshFolder("tensorboard_resume");
  TensorboardWriter first = TensorboardWriter::Create(folder, 0).value();
  first.AddScalar("a", 1, 0);
  first.AddScalar("a", 2, 1);
  ASSERT_TRUE(first.Flush().ok());
  TensorboardWriter second = TensorboardWriter::Create(folder, 1).value();
  second.AddScalar("a", 3, 1);
  ASSERT_TRUE(second.Flush().ok());
  EXPECT_LT(first.path(), second.path());
  EXPECT_EQ(Events(first.path()).size(), 3u);
  const std::vector<tensorboard::Event> events = Events(second.path());
  ASSERT_EQ(events.size(), 3u);
  EXPECT_EQ(events[1].session_log().status(), 1);
  EXPECT_EQ(events[1].step(), 1);
  EXPECT_EQ(events[2].summary().value(0).simple_value(), 3);

  TensorboardWriter anew = TensorboardWriter::Create(folder, 0).value();
  EXPECT_EQ(anew.path(), first.path());
  EXPECT_EQ(Events(anew.path()).size(), 1u);
  EXPECT_FALSE(PathExists(second.path()));
}

TEST(TensorboardWriterTest, HistogramsOfOddSamples) {
  TensorboardWriter writer = TensorboardWriter::Create(FreshFolder("tensorboard_histograms"), 0).value();
  writer.AddHistogram("none", {}, 0);
  writer.AddHistogram("equal", {2, 2, 2}, 0);
  writer.AddHistogram("with infinity", {1, 3, std::numeric_limits<double>::infinity()}, 0);
  ASSERT_TRUE(writer.Flush().ok());
  const std::vector<tensorboard::Event> events = Events(writer.path());
  EXPECT_EQ(events[1].summary().value(0).histo().num(), 0);
  const tensorboard::Histogram& equal = events[2].summary().value(0).histo();
  ASSERT_EQ(equal.bucket_size(), 1);
  EXPECT_EQ(equal.bucket(0), 3);
  EXPECT_EQ(equal.bucket_limit(0), 2);
  const tensorboard::Histogram& infinite = events[3].summary().value(0).histo();
  EXPECT_EQ(infinite.num(), 2);
  EXPECT_EQ(infinite.bucket_size(), 30);
  EXPECT_EQ(infinite.max(), 3);
}

TEST(TensorboardWriterTest, AFolderThatIsNotThere) {
  EXPECT_FALSE(TensorboardWriter::Create("/nowhere/at/all", 0).ok());
}

}  // namespace
}  // namespace prunelab
