#include "experiments/sweep/shared_crashes.h"

#include <gtest/gtest.h>

namespace prunelab {
namespace {

SharedCrashes::Time At(int seconds) { return SharedCrashes::Time() + std::chrono::seconds(seconds); }

TEST(SharedCrashesTest, OnlyTheFirstOfAGpuIsCharged) {
  SharedCrashes crashes;
  EXPECT_TRUE(crashes.Counts(0, At(0), At(100)));
  EXPECT_FALSE(crashes.Counts(0, At(0), At(100))) << "noticed together";
  EXPECT_FALSE(crashes.Counts(0, At(50), At(103)));
  EXPECT_TRUE(crashes.Counts(1, At(0), At(101))) << "of another GPU";
}

TEST(SharedCrashesTest, WhatHasNothingToDoWithTheFaultIsCharged) {
  SharedCrashes crashes;
  EXPECT_TRUE(crashes.Counts(0, At(0), At(100)));
  EXPECT_TRUE(crashes.Counts(0, At(101), At(110))) << "started after it";
  EXPECT_TRUE(crashes.Counts(0, At(0), At(300))) << "ended long after it";
}

// Three workers that fault together each time: every round charges one of them.
TEST(SharedCrashesTest, RunsThatAlwaysFaultComeToAnEnd) {
  SharedCrashes crashes;
  int charged = 0;
  for (int round = 0; round < 5; ++round) {
    for (int worker = 0; worker < 3; ++worker) charged += crashes.Counts(0, At(10 * round), At(10 * round + 9));
  }
  EXPECT_EQ(charged, 5);
}

}  // namespace
}  // namespace prunelab
