#include "ml/network/border_runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using ::testing::ElementsAre;

TEST(BorderRunsTest, ConvolutionsThatPadDifferAtTheBorder) {
  EXPECT_THAT(WindowRuns({8}, {3, 1, 1, 1}), ElementsAre(1, 6, 1));
  EXPECT_THAT(WindowRuns({1, 6, 1}, {3, 1, 1, 1}), ElementsAre(1, 1, 4, 1, 1));
  EXPECT_THAT(WindowRuns({8}, {1, 1, 0, 1}), ElementsAre(8));
  EXPECT_THAT(WindowRuns({8}, {3, 1, 0, 1}), ElementsAre(6));
  // The window is centred on rows 0, 2, 4, 6: only the first reaches outside. With nine rows the last does, too.
  EXPECT_THAT(WindowRuns({8}, {3, 2, 1, 1}), ElementsAre(1, 3));
  EXPECT_THAT(WindowRuns({9}, {3, 2, 1, 1}), ElementsAre(1, 3, 1));
  EXPECT_THAT(WindowRuns({8}, {3, 1, 2, 2}), ElementsAre(2, 4, 2));
  EXPECT_THAT(WindowRuns({1}, {3, 1, 1, 1}), ElementsAre(1));
  EXPECT_THAT(WindowRuns({2}, {3, 1, 1, 1}), ElementsAre(1, 1));
}

TEST(BorderRunsTest, Pooling) {
  EXPECT_THAT(WindowRuns({8}, {3, 2, 1, 1, Border::kIgnored}), ElementsAre(4));
  EXPECT_THAT(WindowRuns({1, 6, 1}, {2, 2, 0, 1, Border::kIgnored}), ElementsAre(1, 2, 1));
  // Of three averaged rows the first and the last have one zero each, so they are equal.
  EXPECT_THAT(WindowRuns({8}, {3, 1, 1, 1, Border::kAverage}), ElementsAre(1, 6, 1));
  EXPECT_THAT(WindowRuns({2}, {3, 1, 1, 1, Border::kAverage}), ElementsAre(2));
}

TEST(BorderRunsTest, SumsAndStarts) {
  EXPECT_THAT(MergeRuns({1, 6, 1}, {4, 4}, 8), ElementsAre(1, 3, 3, 1));
  EXPECT_THAT(MergeRuns({1}, {1, 2}, 3), ElementsAre(1, 2));
  EXPECT_THAT(RunStarts({1, 6, 1}), ElementsAre(0, 1, 7));
}

}  // namespace
}  // namespace prunelab
