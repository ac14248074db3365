// Compares the weight's gradient with LibTorch's in float64: on the CPU, on a CUDA device if program and machine have
// one, and with the device's threads one by one on the host, which must give the device's bits.

#include "ml/kernels/device_conv3x3/weight_gradient.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "ml/kernels/device_conv3x3/on_host.h"
#include "ml/kernels/testing/devices.h"

namespace prunelab {
namespace {

struct Case {
  int64_t images, height, width, in, out;
};

// Pictures of one pixel, of one row and of one column; widths of all remainders by 3; channels of one group, fewer and
// more than a block takes, and not a multiple of those; fewer rows than threads, and several rows a lane.
const std::vector<Case> kCases = {
    {1, 1, 1, 4, 4},      {3, 1, 7, 8, 4},      {2, 5, 1, 4, 12},   {2, 4, 2, 16, 16},
    {9, 7, 9, 20, 8},     {4, 6, 8, 64, 64},    {3, 5, 6, 36, 52},  {2, 3, 4, 40, 16},
    {40, 32, 32, 16, 16}, {70, 16, 16, 32, 32}, {33, 8, 8, 64, 64},
};

std::string Name(const Case& test) {
  return std::to_string(test.images) + "x" + std::to_string(test.height) + "x" + std::to_string(test.width) + " " +
         std::to_string(test.in) + " -> " + std::to_string(test.out);
}

at::Tensor Values(at::IntArrayRef shape, double frequency) {
  int64_t n = 1;
  for (const int64_t size : shape) n *= size;
  const at::Tensor index = at::arange(n, at::kDouble);
  return (index.mul(frequency).sin() + index.mul(0.137).cos())
      .view(shape)
      .to(at::kFloat)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

struct Inputs {
  at::Tensor x, dy, expected, magnitude;  // the last two [out, in, 3, 3], float64
  explicit Inputs(const Case& test)
      : x(Values({test.images, test.in, test.height, test.width}, 1.1)),
        dy(Values({test.images, test.out, test.height, test.width}, 2.3)),
        expected(ByLibrary(x.to(at::kDouble), dy.to(at::kDouble))),
        magnitude(ByLibrary(x.to(at::kDouble).abs(), dy.to(at::kDouble).abs())) {}

 private:
  static at::Tensor ByLibrary(const at::Tensor& x, const at::Tensor& dy) {
    const at::Tensor weight = at::zeros({dy.size(1), x.size(1), 3, 3}, at::kDouble);
    return std::get<1>(at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), {1, 1}, {1, 1}, {1, 1}, false,
                                                {0, 0}, 1, {false, true, false}));
  }
};

// Relative to the sum of its terms' sizes. The kernel adds few terms at a time, the CPU's library up to a few hundred.
constexpr double kOfTheKernel = 1e-6, kOfTheLibrary = 1e-5;

void ExpectNear(const at::Tensor& found, const Inputs& in, double bound) {
  ASSERT_EQ(found.sizes(), in.expected.sizes());
  const at::Tensor error = (found.cpu().to(at::kDouble) - in.expected).abs() / (in.magnitude + 1e-30);
  EXPECT_LT(error.max().item<double>(), bound);
}

at::Tensor OnHost(const Case& test, const Inputs& in) {
  const WeightGradientGrid grid =
      MakeWeightGradientGrid(test.images, static_cast<int>(test.height), static_cast<int>(test.width),
                             static_cast<int>(test.in), static_cast<int>(test.out));
  std::vector<float> partial(grid.partial_size(), std::nanf(""));
  const at::Tensor dweight =
      at::full({test.out, test.in, 3, 3}, std::nan(""), at::kFloat).contiguous(at::MemoryFormat::ChannelsLast);
  WeightGradientOnHost(grid, in.x.const_data_ptr<float>(), in.dy.const_data_ptr<float>(), partial.data(),
                       dweight.mutable_data_ptr<float>());
  return dweight;
}

TEST(DeviceConv3x3Test, TheDevicesThreadsComputeTheGradient) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(Name(test));
    const Inputs in(test);
    ExpectNear(OnHost(test, in), in, kOfTheKernel);
  }
}

TEST(DeviceConv3x3Test, TheGridCoversAllRowsOnceAndIsTheSameForAllGpus) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(Name(test));
    const WeightGradientGrid grid =
        MakeWeightGradientGrid(test.images, static_cast<int>(test.height), static_cast<int>(test.width),
                               static_cast<int>(test.in), static_cast<int>(test.out));
    EXPECT_LE(grid.lanes * kKernel * grid.pairs(), kWeightGradientThreads);
    EXPECT_GE(grid.lanes, 1);
    EXPECT_LE(int64_t{grid.splits} * grid.in_tiles * grid.out_tiles, kWantedBlocks);
    EXPECT_GE(grid.splits * grid.lanes * grid.rows_of_lane, grid.rows());
    EXPECT_LT((grid.splits - 1) * grid.lanes * grid.rows_of_lane, grid.rows());  // none without work
  }
}

class WeightGradientTest : public testing::TestWithParam<at::Device> {};

TEST_P(WeightGradientTest, EqualsTheLibrarysInFloat64) {
  for (const Case& test : kCases) {
    SCOPED_TRACE(Name(test));
    const Inputs in(test);
    const at::Tensor x = in.x.to(GetParam()), dy = in.dy.to(GetParam());
    EXPECT_EQ(HasOwnConv3x3WeightGradient(x, dy), GetParam().is_cuda());
    ExpectNear(Conv3x3WeightGradient(x, dy), in, GetParam().is_cuda() ? kOfTheKernel : kOfTheLibrary);
  }
}

TEST_P(WeightGradientTest, TheDeviceGivesTheBitsOfItsThreadsOnTheHost) {
  if (!GetParam().is_cuda()) {
    // Without a device the threads on the host are run again: their sums do not depend on what was in memory.
    const Case& test = kCases[4];
    const Inputs in(test);
    EXPECT_TRUE(OnHost(test, in).equal(OnHost(test, in)));
    return;
  }
  for (const Case& test : kCases) {
    SCOPED_TRACE(Name(test));
    const Inputs in(test);
    EXPECT_TRUE(Conv3x3WeightGradient(in.x.to(GetParam()), in.dy.to(GetParam())).cpu().equal(OnHost(test, in)));
  }
}

// What the kernel does not take goes to the library.
TEST_P(WeightGradientTest, OtherTensorsGoToTheLibrary) {
  const Case test = {2, 6, 5, 8, 12};
  const Inputs in(test);
  const at::Tensor x = in.x.to(GetParam()), dy = in.dy.to(GetParam());
  EXPECT_FALSE(HasOwnConv3x3WeightGradient(x.to(at::kDouble), dy.to(at::kDouble)));
  EXPECT_LT(
      (Conv3x3WeightGradient(x.to(at::kDouble), dy.to(at::kDouble)).cpu() - in.expected).abs().max().item<double>(),
      1e-11);
  const at::Tensor three = x.narrow(1, 0, 3).contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_FALSE(HasOwnConv3x3WeightGradient(three, dy));
  EXPECT_FALSE(HasOwnConv3x3WeightGradient(x.contiguous(), dy));
  const at::Tensor wide = at::zeros({1, 68, 2, 2}, x.options()).contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_FALSE(HasOwnConv3x3WeightGradient(wide, wide));
}

INSTANTIATE_TEST_SUITE_P(Devices, WeightGradientTest, testing::ValuesIn(Devices()), DeviceName());

}  // namespace
}  // namespace prunelab
