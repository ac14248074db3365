#include "ml/network/equal_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using ::testing::ElementsAre;

EqualRows Runs(const std::vector<int64_t>& lengths) { return EqualRows::OfRuns(lengths); }

WindowAxis Axis(int64_t kernel, int64_t stride, int64_t padding, int64_t dilation) {
  WindowAxis axis;
  axis.kernel = kernel;
  axis.stride = stride;
  axis.before = axis.after = padding;
  axis.dilation = dilation;
  return axis;
}

std::vector<int64_t> Convolved(const EqualRows& in, const WindowAxis& axis) {
  const EqualRows out = SlidRows(in, axis, Computed::kByPlace, /*outside=*/true);
  EXPECT_TRUE(out.AreRuns());
  return out.Runs();
}

TEST(EqualRowsTest, ConvolutionsThatPadDifferAtTheBorder) {
  EXPECT_THAT(Convolved(Runs({8}), Axis(3, 1, 1, 1)), ElementsAre(1, 6, 1));
  EXPECT_THAT(Convolved(Runs({1, 6, 1}), Axis(3, 1, 1, 1)), ElementsAre(1, 1, 4, 1, 1));
  EXPECT_THAT(Convolved(Runs({8}), Axis(1, 1, 0, 1)), ElementsAre(8));
  EXPECT_THAT(Convolved(Runs({8}), Axis(3, 1, 0, 1)), ElementsAre(6));
  // The window is centred on rows 0, 2, 4, 6: only the first reaches outside. With nine rows the last does, too.
  EXPECT_THAT(Convolved(Runs({8}), Axis(3, 2, 1, 1)), ElementsAre(1, 3));
  EXPECT_THAT(Convolved(Runs({9}), Axis(3, 2, 1, 1)), ElementsAre(1, 3, 1));
  EXPECT_THAT(Convolved(Runs({8}), Axis(3, 1, 2, 2)), ElementsAre(2, 4, 2));
  EXPECT_THAT(Convolved(Runs({1}), Axis(3, 1, 1, 1)), ElementsAre(1));
  EXPECT_THAT(Convolved(Runs({2}), Axis(3, 1, 1, 1)), ElementsAre(1, 1));
  // Zeros at the top and at the bottom are held twice, as runs.
  EXPECT_THAT(Convolved(Runs({2}), Axis(1, 1, 1, 1)), ElementsAre(1, 2, 1));
}

TEST(EqualRowsTest, Pooling) {
  const auto max = [](const EqualRows& in, const WindowAxis& axis) {
    return SlidRows(in, axis, Computed::kByKind, /*outside=*/false).Runs();
  };
  EXPECT_THAT(max(Runs({8}), Axis(3, 2, 1, 1)), ElementsAre(4));
  EXPECT_THAT(max(Runs({1, 6, 1}), Axis(2, 2, 0, 1)), ElementsAre(1, 2, 1));
  // Of three averaged rows the first and the last have one zero each, so they are equal.
  const auto average = [](const EqualRows& in, const WindowAxis& axis, bool outside) {
    return SlidRows(in, axis, Computed::kByAverage, outside).Runs();
  };
  EXPECT_THAT(average(Runs({8}), Axis(3, 1, 1, 1), true), ElementsAre(1, 6, 1));
  EXPECT_THAT(average(Runs({2}), Axis(3, 1, 1, 1), true), ElementsAre(2));
  EXPECT_THAT(average(Runs({8}), Axis(3, 1, 1, 1), false), ElementsAre(8));
  // The last window has two rows, and nothing that counts beyond them.
  WindowAxis ceil = Axis(3, 3, 0, 1);
  ceil.ceil = true;
  EXPECT_THAT(average(Runs({8}), ceil, true), ElementsAre(3));
  EXPECT_THAT(average(Runs({7, 1}), ceil, true), ElementsAre(2, 1));
}

TEST(EqualRowsTest, EqualRowsThatAreNoNeighbours) {
  const EqualRows alternating = EqualRows::OfIndex({0, 1, 0, 1, 0, 1});
  EXPECT_FALSE(alternating.AreRuns());
  EXPECT_THAT(alternating.First(), ElementsAre(0, 1));
  EXPECT_THAT(SlidRows(alternating, Axis(3, 1, 1, 1), Computed::kByPlace, true).index(), ElementsAre(0, 1, 2, 1, 2, 3));
  EXPECT_THAT(SlidRows(alternating, Axis(2, 1, 0, 1), Computed::kByPlace, true).index(), ElementsAre(0, 1, 0, 1, 0));
  EXPECT_THAT(SlidRows(alternating, Axis(2, 1, 0, 1), Computed::kByAverage, true).Runs(), ElementsAre(5));
  EXPECT_THAT(SlidRows(alternating, Axis(3, 1, 0, 1), Computed::kByAverage, true).index(), ElementsAre(0, 1, 0, 1));
  EXPECT_THAT(SlidRows(alternating, Axis(3, 1, 0, 1), Computed::kByKind, true).Runs(), ElementsAre(4));
  EXPECT_THAT(SlidRows(alternating, Axis(1, 2, 0, 1), Computed::kByPlace, true).Runs(), ElementsAre(3));
  // Mirrored at its first and last row, within the padding of the first.
  EXPECT_THAT(ComputedRows(Runs({2, 2}), {{-1}, {1}, {0}, {1}, {2}, {3}, {2}, {-1}}, Computed::kByPlace).index(),
              ElementsAre(0, 1, 1, 1, 2, 2, 2, 0));
}

TEST(EqualRowsTest, TransposedConvolutionsAlternate) {
  TransposedAxis axis;
  axis.kernel = axis.stride = 2;
  EXPECT_THAT(TransposedRows(Runs({3}), axis).index(), ElementsAre(0, 1, 0, 1, 0, 1));
  axis.kernel = 3;  // every second row has two taps, the first and the last one
  EXPECT_THAT(TransposedRows(Runs({3}), axis).index(), ElementsAre(0, 1, 2, 1, 2, 1, 3));
  axis.padding = axis.output_padding = 1;
  EXPECT_THAT(TransposedRows(Runs({3}), axis).index(), ElementsAre(0, 1, 0, 1, 0, 2));
  axis.stride = 1;
  axis.output_padding = 0;
  EXPECT_THAT(TransposedRows(Runs({8}), axis).Runs(), ElementsAre(1, 6, 1));
}

TEST(EqualRowsTest, Sums) {
  EXPECT_THAT(MergedRows(Runs({1, 6, 1}), Runs({4, 4}), 8).Runs(), ElementsAre(1, 3, 3, 1));
  EXPECT_THAT(MergedRows(Runs({1}), Runs({1, 2}), 3).Runs(), ElementsAre(1, 2));
  EXPECT_THAT(MergedRows(EqualRows::OfIndex({0, 1, 0, 1}), Runs({3, 1}), 4).index(), ElementsAre(0, 1, 0, 2));
  EXPECT_THAT(Runs({1, 6, 1}).First(), ElementsAre(0, 1, 7));
  EXPECT_EQ(EqualRows::Alike(3), Runs({3}));
  EXPECT_EQ(EqualRows::Different(3), Runs({1, 1, 1}));
}

}  // namespace
}  // namespace prunelab
