#include "ml/onnx/view.h"

#include <gtest/gtest.h>

#include <vector>

namespace prunelab {
namespace {

using Ints = std::vector<int64_t>;

const NodeShape kMaps = {6, 4, 5, false};

TEST(ViewTest, ReshapesSplitAndJoinDimensions) {
  const View whole = WholeView(7, kMaps);
  EXPECT_EQ(SizesOf(whole), (Ints{7, 6, 4, 5}));
  const std::optional<View> split = Reshaped(whole, {7, 2, 3, 20});
  ASSERT_TRUE(split);
  EXPECT_EQ((*split)[1], (Dimension{{Axis::kChannels, 2, 3}}));
  EXPECT_EQ((*split)[2], (Dimension{{Axis::kChannels, 3, 1}}));
  EXPECT_EQ((*split)[3], (Dimension{{Axis::kHeight, 4, 1}, {Axis::kWidth, 5, 1}}));
  EXPECT_EQ(Reshaped(*split, {7, 6, 4, 5}), whole);
  EXPECT_FALSE(Reshaped(whole, {7, 5, 6, 4}));  // a size that mixes channels and rows
  EXPECT_FALSE(Reshaped(whole, {7, 6, 4}));
  EXPECT_FALSE(Reshaped(whole, {7, 6, 4, 5, 0}));
}

TEST(ViewTest, ABatchOfOneStaysInFront) {
  const View whole = WholeView(1, kMaps);
  const std::optional<View> flat = Reshaped(whole, {1, 120});
  ASSERT_TRUE(flat);
  EXPECT_TRUE(IsOnly((*flat)[0], Axis::kBatch));
  EXPECT_FALSE(HasAxis((*flat)[1], Axis::kBatch));
  EXPECT_TRUE(HasAxis((*Reshaped(whole, {120}))[0], Axis::kBatch));
}

TEST(ViewTest, OrderOfShuffledChannels) {
  const View split = *Reshaped(WholeView(7, kMaps), {7, 2, 3, 4, 5});
  const View turned = {split[0], split[2], split[1], split[3], split[4]};
  EXPECT_EQ(ChannelOrder(turned), (Ints{0, 3, 1, 4, 2, 5}));
  EXPECT_EQ(ChannelOrder(turned, 1, {2, 0}), (Ints{2, 5, 0, 3}));
  const View ordered = WithOrderedChannels(turned, 1, 2);
  EXPECT_EQ(SizesOf(ordered), (Ints{7, 2, 2, 4, 5}));
  EXPECT_TRUE(IsIdentity(ChannelOrder(ordered), 4));
}

TEST(ViewTest, OnesHaveNoAtoms) {
  const View pixel = WholeView(7, {6, 1, 1, false});
  EXPECT_TRUE(pixel[2].empty());
  EXPECT_TRUE(IsWhole(pixel[2], Axis::kHeight, 1));
  EXPECT_EQ(*Reshaped(pixel, {7, 6}), WholeView(7, {6, 1, 1, true}));
}

}  // namespace
}  // namespace prunelab
