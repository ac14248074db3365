#include "ml/base/flags.h"

#include <gflags/gflags.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

DEFINE_string(seeds, "", "Seeds.");
DEFINE_int32(threads_per_run, 0, "Threads.");
DEFINE_int64(batch_size, 500, "Images.");
DEFINE_double(expected_sd, 0.5, "A number.");
DEFINE_bool(latency, true, "A switch.");
DEFINE_bool(dry_run, false, "Another.");

namespace prunelab {
namespace {

using ::testing::HasSubstr;

std::string Refusal(const std::vector<std::string>& arguments) {
  const absl::Status status = ParseFlags(arguments);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  return std::string(status.message());
}

TEST(FlagsTest, AreSetInEveryWayOfWriting) {
  ASSERT_TRUE(ParseFlags({"--seeds=1-3", "-threads_per_run", "4", "--batch-size=7", "--expected_sd", "-0.25",
                          "--nolatency", "--dry_run"})
                  .ok());
  EXPECT_EQ(FLAGS_seeds, "1-3");
  EXPECT_EQ(FLAGS_threads_per_run, 4);
  EXPECT_EQ(FLAGS_batch_size, 7);
  EXPECT_EQ(FLAGS_expected_sd, -0.25);
  EXPECT_FALSE(FLAGS_latency);
  EXPECT_TRUE(FLAGS_dry_run);
  EXPECT_FALSE(gflags::GetCommandLineFlagInfoOrDie("seeds").is_default);
  ASSERT_TRUE(ParseFlags({"--latency=true", "--dry_run=no", "--seeds=a=b, c"}).ok());
  EXPECT_TRUE(FLAGS_latency);
  EXPECT_FALSE(FLAGS_dry_run);
  EXPECT_EQ(FLAGS_seeds, "a=b, c");
}

TEST(FlagsTest, UnknownOnesNameTheNearest) {
  EXPECT_EQ(Refusal({"--seds=1"}), "--seds is not a flag; did you mean --seeds?");
  EXPECT_EQ(Refusal({"--bacth-size=1"}), "--bacth-size is not a flag; did you mean --batch_size?");
  EXPECT_EQ(Refusal({"--threads=1"}), "--threads is not a flag; did you mean --threads_per_run?");
  EXPECT_EQ(Refusal({"--nolatancy"}), "--nolatancy is not a flag; did you mean --nolatency?");
  EXPECT_EQ(Refusal({"--zzzz=3"}),
            "--zzzz is not a flag; there are --batch_size, --dry_run, --expected_sd, --latency, --seeds, "
            "--threads_per_run; --help explains them");
  EXPECT_THAT(Refusal({"--noseeds"}), HasSubstr("--noseeds is not a flag"));
  // Flags that gflags defines by itself are not accepted.
  EXPECT_THAT(Refusal({"--flagfile=x"}), HasSubstr("--flagfile is not a flag"));
}

TEST(FlagsTest, ValuesThatCannotBeMeant) {
  EXPECT_EQ(Refusal({"--batch_size=abc"}), "--batch_size=abc: must be a whole number, e.g. 500");
  EXPECT_EQ(Refusal({"--batch_size=1.5"}), "--batch_size=1.5: must be a whole number, e.g. 500");
  EXPECT_THAT(Refusal({"--threads_per_run=99999999999"}), HasSubstr("must be a whole number"));
  EXPECT_EQ(Refusal({"--expected_sd=0,005"}),
            "--expected_sd=0,005: must be a number, e.g. 0.5; with a decimal point, e.g. 0.005");
  EXPECT_EQ(Refusal({"--dry_run=maybe"}), "--dry_run=maybe: must be true or false");
}

TEST(FlagsTest, ValuesThatAreMissing) {
  EXPECT_EQ(Refusal({"--seeds"}), "--seeds has no value; write --seeds=VALUE");
  EXPECT_EQ(Refusal({"--seeds", "--dry_run"}), "--seeds has no value; write --seeds=VALUE");
  EXPECT_EQ(Refusal({"--seeds="}), "--seeds= has no value; write one, or leave the flag out");
  EXPECT_EQ(Refusal({"--batch_size", ""}), "--batch_size= has no value; write one, or leave the flag out");
}

TEST(FlagsTest, WhatIsNoFlag) {
  EXPECT_EQ(Refusal({"seeds=1"}),
            "\"seeds=1\" is not a flag; flags begin with --, and a value with spaces needs quotes");
  EXPECT_EQ(Refusal({"--latency", "false"}), "\"false\" is not a flag; write --latency=false");
  EXPECT_THAT(Refusal({"--", "x"}), HasSubstr("\"--\" is not a flag"));
  EXPECT_THAT(Refusal({""}), HasSubstr("\"\" is not a flag"));
}

TEST(FlagsTest, HelpIsAskedFor) {
  for (const char* help : {"--help", "-help", "-h"}) EXPECT_TRUE(absl::IsCancelled(ParseFlags({help}))) << help;
}

}  // namespace
}  // namespace prunelab
