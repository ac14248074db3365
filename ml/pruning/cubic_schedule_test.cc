#include "ml/pruning/cubic_schedule.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ml/base/field_error.h"

namespace prunelab {
namespace {

// Of a run of 8 epochs of 10 steps: the steps with a ranking.
std::vector<int64_t> Steps(const CubicSchedule& schedule) {
  std::vector<int64_t> steps;
  for (int64_t step = 0; step < 80; ++step) {
    if (schedule.RateAt({step / 10, step % 10, 10, 8})) steps.push_back(step);
  }
  return steps;
}

TEST(CubicScheduleTest, Rates) {
  EXPECT_DOUBLE_EQ(CubicRate(0, 0.8, 0, 10, 0), 0);
  EXPECT_DOUBLE_EQ(CubicRate(0, 0.8, 0, 10, 5), 0.7);
  EXPECT_EQ(CubicRate(0.1, 0.8, 0, 10, 10), 0.8);
}

TEST(CubicScheduleTest, RankingsComeEveryPeriodAndAtTheEnd) {
  CubicSchedule schedule;
  schedule.rate = 0.8;
  schedule.begin_epoch = 1;
  schedule.period = 12;
  EXPECT_EQ(Steps(schedule), (std::vector<int64_t>{10, 22, 34, 40}));  // the end: half of 80 steps
  EXPECT_EQ(*schedule.RateAt({4, 0, 10, 8}), 0.8);
  schedule.end_epoch = 2;
  EXPECT_EQ(Steps(schedule), (std::vector<int64_t>{10, 20}));
  schedule.goes_on = true;
  schedule.last_epoch = 4;
  EXPECT_EQ(Steps(schedule), (std::vector<int64_t>{10, 20, 22, 34, 46}));
  EXPECT_EQ(*schedule.RateAt({2, 2, 10, 8}), 0.8);
}

// A rate of 0 masks nothing, but a rise from 0 to another begins with the smallest entry.
TEST(CubicScheduleTest, OnlyARateOfZeroIsZero) {
  CubicSchedule schedule;
  schedule.rate = 0.8;
  EXPECT_EQ(*schedule.RateAt({0, 0, 10, 8}), std::numeric_limits<double>::min());
  schedule.initial_rate = 0.1;
  EXPECT_DOUBLE_EQ(*schedule.RateAt({0, 0, 10, 8}), 0.1);
  schedule.initial_rate = schedule.rate = 0;
  schedule.goes_on = true;
  for (const int64_t step : Steps(schedule)) EXPECT_EQ(*schedule.RateAt({step / 10, step % 10, 10, 8}), 0) << step;
  EXPECT_FALSE(Steps(schedule).empty());
}

TEST(CubicScheduleTest, NoRankingComesAfterTheLastEpochThoughTheEndIsLeftToTheRun) {
  CubicSchedule schedule;
  schedule.rate = 0.8;
  schedule.period = 6;
  schedule.goes_on = true;
  schedule.last_epoch = 2;
  EXPECT_EQ(Steps(schedule), (std::vector<int64_t>{0, 6, 12, 18, 20, 24}));
  EXPECT_EQ(*schedule.RateAt({2, 0, 10, 8}), 0.8);  // reached at the last epoch's start, before half of the run
  schedule.last_epoch = 6;
  EXPECT_EQ(*schedule.RateAt({4, 0, 10, 8}), 0.8);
  EXPECT_EQ(Steps(schedule).back(), 66);
}

TEST(CubicScheduleTest, RefusesContradictions) {
  CubicSchedule schedule;
  schedule.rate = 0.8;
  EXPECT_TRUE(ValidateCubicSchedule(schedule).ok());
  schedule.last_epoch = 3;
  schedule.end_epoch = 4;
  EXPECT_EQ(ErrorField(ValidateCubicSchedule(schedule)), "last_epoch");
  schedule.begin_epoch = 4;
  EXPECT_EQ(ErrorField(ValidateCubicSchedule(schedule)), "end_epoch");
  schedule.initial_rate = 0.9;
  EXPECT_EQ(ErrorField(ValidateCubicSchedule(schedule)), "initial_rate");
}

}  // namespace
}  // namespace prunelab
