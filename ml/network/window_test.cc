#include "ml/network/window.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "google/protobuf/text_format.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;

template <typename Op>
Window Parse(const std::string& text) {
  Op op;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &op)) << text;
  return WindowOf(op);
}

TEST(WindowTest, UnsetFieldsMeanTheOtherDirectionOrPadding) {
  const Window plain = Parse<Conv2d>("kernel_height: 5 stride: 2 padding: 3 dilation: 4");
  EXPECT_THAT(plain.Kernel(), ElementsAre(5, 3));
  EXPECT_THAT(plain.Strides(), ElementsAre(2, 2));
  EXPECT_THAT(plain.Pads(), ElementsAre(3, 3));
  EXPECT_THAT(plain.Dilations(), ElementsAre(4, 4));
  EXPECT_TRUE(plain.HasEqualPads());
  const Window uneven =
      Parse<Conv2d>("stride: 2 padding: 9 dilation: 4 stride_width: 3 dilation_width: 5 pads: [1, 2, 3, 4]");
  EXPECT_THAT(uneven.Strides(), ElementsAre(2, 3));
  EXPECT_THAT(uneven.Dilations(), ElementsAre(4, 5));
  EXPECT_THAT(uneven.Pads(), ElementsAre(1, 2));
  EXPECT_EQ(uneven.down.after, 3);
  EXPECT_EQ(uneven.across.after, 4);
  EXPECT_FALSE(uneven.HasEqualPads());
  EXPECT_TRUE(Parse<Conv2d>("pads: [0, 0, 0, 0] padding: 1").HasEqualPads());
  EXPECT_THAT(Parse<MaxPool2d>("kernel: 3").Kernel(), ElementsAre(3, 3));
  EXPECT_THAT(Parse<MaxPool2d>("kernel: 3 kernel_width: 1 stride_width: 1 dilation: 2").Dilations(), ElementsAre(2, 1));
  EXPECT_THAT(Parse<AveragePool2d>("kernel: 3 kernel_width: 1 stride_width: 4").Strides(), ElementsAre(2, 4));
  // What a kernel of one pixel is dilated by means nothing.
  EXPECT_THAT(Parse<Conv2d>("kernel_width: 1 dilation: 2").Dilations(), ElementsAre(2, 1));
}

TEST(WindowTest, OnlyThePlain3x3WindowIsOne) {
  EXPECT_TRUE(IsPlain3x3(Parse<Conv2d>("padding: 1")));
  EXPECT_TRUE(IsPlain3x3(Parse<Conv2d>("pads: [1, 1, 1, 1]")));
  for (const char* other :
       {"", "pads: [1, 1, 1, 0]", "pads: [0, 1, 1, 1]", "padding: 1 stride: 2", "padding: 1 stride_width: 2",
        "padding: 1 dilation_width: 2", "padding: 1 dilation: 2", "padding: 1 kernel_width: 1", "padding: 2"}) {
    EXPECT_FALSE(IsPlain3x3(Parse<Conv2d>(other))) << other;
  }
}

// Against counting: windows begin at -before, -before + stride, ...
TEST(WindowTest, PositionsAreThoseThatFit) {
  WindowAxis axis;
  for (axis.kernel = 1; axis.kernel <= 4; ++axis.kernel) {
    for (axis.stride = 1; axis.stride <= 3; ++axis.stride) {
      for (axis.dilation = 1; axis.dilation <= 2; ++axis.dilation) {
        for (axis.before = 0; axis.before <= 2; ++axis.before) {
          for (axis.after = 0; axis.after <= 2; ++axis.after) {
            for (int64_t size = 1; size <= 9; ++size) {
              const int64_t end = size + axis.after;
              int64_t fit = 0, reach = 0;
              bool each_has_pixels = true;
              int64_t start = -axis.before;
              const auto has_pixels = [&] {
                for (int64_t tap = 0; tap < axis.kernel; ++tap) {
                  const int64_t pixel = start + tap * axis.dilation;
                  if (pixel >= 0 && pixel < size) return true;
                }
                return false;
              };
              for (; start + axis.extent() <= end; start += axis.stride) {
                ++fit;
                each_has_pixels = each_has_pixels && has_pixels();
                reach = start + axis.extent() - size;
              }
              axis.ceil = false;
              ASSERT_EQ(axis.Positions(size), fit);
              if (fit > 0) {
                ASSERT_EQ(axis.Reach(size), reach);
                ASSERT_EQ(axis.EachHasPixels(size), each_has_pixels);
              }
              axis.ceil = true;
              // One more if windows do not end with the padding, and none that begins behind the pixels.
              int64_t with_ceil = fit + (end - axis.extent() + axis.before >= 0
                                             ? (end - axis.extent() + axis.before) % axis.stride != 0
                                             : end - axis.extent() + axis.before + axis.stride - 1 >= 0);
              if (with_ceil > 0 && -axis.before + (with_ceil - 1) * axis.stride >= size) --with_ceil;
              ASSERT_EQ(axis.Positions(size), with_ceil);
            }
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
