#include "ml/pruning/update_times.h"

#include <gtest/gtest.h>

#include <vector>

namespace prunelab {
namespace {

StepPosition At(int64_t epoch, int64_t iteration) {
  StepPosition position;
  position.epoch = epoch;
  position.iteration = iteration;
  position.iterations_per_epoch = 196;
  position.epochs = 300;
  return position;
}

TEST(UpdateTimesTest, ThePapersUpdates) {
  std::vector<int64_t> updates;
  for (int64_t i = 0; i < 196; ++i) {
    if (IsPeriodicUpdate(At(0, i), 4, 0, 225)) updates.push_back(i);
  }
  // The fourth step is the first, and the epoch's last step is one.
  ASSERT_EQ(updates.size(), 49u);
  EXPECT_EQ(updates.front(), 3);
  EXPECT_EQ(updates.back(), 195);
  EXPECT_TRUE(IsPeriodicUpdate(At(225, 3), 4, 0, 225));
  EXPECT_FALSE(IsPeriodicUpdate(At(226, 3), 4, 0, 225));
  EXPECT_TRUE(IsPeriodicUpdate(At(299, 3), 4, 0, -1));
  EXPECT_FALSE(IsPeriodicUpdate(At(1, 3), 4, 2, -1));
}

TEST(UpdateTimesTest, FirstStep) {
  EXPECT_TRUE(IsFirstStepOf(2, At(2, 0)));
  EXPECT_FALSE(IsFirstStepOf(2, At(2, 1)));
  EXPECT_FALSE(IsFirstStepOf(2, At(3, 0)));
}

}  // namespace
}  // namespace prunelab
