// Each operator against plain loops over whole numbers, and rescaling against exact arithmetic.
#include "ml/quantization/integer_operators.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "ml/base/random.h"

namespace prunelab {
namespace {

int64_t Between(RandomStream& stream, int64_t least, int64_t most) {
  return least + static_cast<int64_t>(stream.Uniform() * static_cast<double>(most - least + 1));
}

at::Tensor RandomPlaces(RandomStream& stream, std::vector<int64_t> shape) {
  at::Tensor places = at::empty(shape, at::kByte);
  for (int64_t i = 0; i < places.numel(); ++i)
    places.data_ptr<uint8_t>()[i] = static_cast<uint8_t>(Between(stream, 0, 255));
  return places;
}

// product / 2^shift, rounded to the nearest, halves up, in 128 bits.
int64_t Divided(__int128 product, int64_t shift) {
  const __int128 one = static_cast<__int128>(1) << shift;
  __int128 floor = product / one;
  if (product % one < 0) --floor;
  return static_cast<int64_t>(2 * (product - floor * one) >= one ? floor + 1 : floor);
}

uint8_t Placed(int64_t value, const ResultGrid& grid) {
  return static_cast<uint8_t>(std::min(std::max(value + grid.zero_point, grid.first), grid.last));
}

TEST(IntegerOperatorsTest, RescalingIsWithinItsBoundAndRoundsHalvesUp) {
  RandomStream stream(1, "factors");
  for (int trial = 0; trial < 2000; ++trial) {
    const double factor = std::exp(Between(stream, -20, 18) + stream.Uniform());
    const Rescaling rescaling = RescalingOf(at::scalar_tensor(factor, at::kDouble));
    const int64_t multiplier = rescaling.multiplier.item<int64_t>(), shift = rescaling.shift.item<int64_t>();
    EXPECT_GE(multiplier, int64_t{1} << 30);
    EXPECT_LT(multiplier, int64_t{1} << 31);
    EXPECT_NEAR(std::ldexp(static_cast<double>(multiplier), -static_cast<int>(shift)) / factor, 1, std::ldexp(1, -31));
    const int64_t x = Between(stream, -(int64_t{1} << 31) + 1, (int64_t{1} << 31) - 1);
    EXPECT_EQ(Rescaled(rescaling, at::scalar_tensor(x, at::kLong)).item<int64_t>(),
              Divided(static_cast<__int128>(x) * multiplier, shift));
  }
  const Rescaling half = RescalingOf(at::scalar_tensor(0.5, at::kDouble));
  const at::Tensor rounded = Rescaled(half, at::arange(-5, 6, at::kLong));
  EXPECT_TRUE(at::equal(rounded, at::tensor(std::vector<int64_t>{-2, -2, -1, -1, 0, 0, 1, 1, 2, 2, 3}, at::kLong)))
      << rounded;
}

TEST(IntegerOperatorsTest, AMultiplierThatIsRoundedUpStaysBelowItsBound) {
  const Rescaling rescaling = RescalingOf(at::scalar_tensor(1 - 1e-12, at::kDouble));
  EXPECT_EQ(rescaling.multiplier.item<int64_t>(), int64_t{1} << 30);
  EXPECT_EQ(rescaling.shift.item<int64_t>(), 30);
}

TEST(IntegerOperatorsTest, TinyFactorsBecomeZero) {
  const Rescaling rescaling = RescalingOf(at::tensor(std::vector<double>{0, 1e-30, std::ldexp(1, -31)}, at::kDouble));
  const at::Tensor rounded = Rescaled(rescaling, at::full({3}, (int64_t{1} << 31) - 1, at::kLong));
  EXPECT_EQ(rounded[0].item<int64_t>(), 0);
  EXPECT_EQ(rounded[1].item<int64_t>(), 0);
  EXPECT_EQ(rounded[2].item<int64_t>(), 1);
}

TEST(IntegerOperatorsTest, ConvolutionsAreTheSumsOfTheirProducts) {
  RandomStream stream(2, "convolutions");
  for (int trial = 0; trial < 60; ++trial) {
    IntegerConv conv;
    conv.groups = Between(stream, 1, 3);
    const int64_t in = Between(stream, 1, 3), out = conv.groups * Between(stream, 1, 4);
    WindowAxis* axes[] = {&conv.window.down, &conv.window.across};
    int64_t sizes[2];
    for (int a = 0; a < 2; ++a) {
      axes[a]->kernel = Between(stream, 1, 3);
      axes[a]->stride = Between(stream, 1, 2);
      axes[a]->dilation = axes[a]->kernel > 1 ? Between(stream, 1, 2) : 1;
      axes[a]->before = Between(stream, 0, 2);
      axes[a]->after = Between(stream, 0, 2);
      sizes[a] = Between(stream, 5, 8);
    }
    conv.levels = RandomPlaces(stream, {out, in, axes[0]->kernel, axes[1]->kernel})
                      .to(at::kLong)
                      .sub(127)
                      .clamp(-127, 127)
                      .to(at::kChar);
    conv.bias = RandomPlaces(stream, {out}).to(at::kLong) * 100 - 12000;
    conv.zero_point = Between(stream, 0, 255);
    at::Tensor factors = at::empty({out, 1, 1}, at::kDouble);
    for (int64_t o = 0; o < out; ++o) factors.data_ptr<double>()[o] = std::exp(-4 - 4 * stream.Uniform());
    conv.rescaling = RescalingOf(factors);
    conv.result = {Between(stream, 0, 255), 0, 255};
    if (trial % 3 == 0) conv.result.first = conv.result.zero_point;
    const at::Tensor places = RandomPlaces(stream, {2, in * conv.groups, sizes[0], sizes[1]});
    const at::Tensor sums = Accumulators(conv, places), result = prunelab::Run(conv, places);
    const auto x = places.accessor<uint8_t, 4>();
    const auto w = conv.levels.accessor<int8_t, 4>();
    ASSERT_EQ(sums.size(2), axes[0]->Positions(sizes[0]));
    ASSERT_EQ(sums.size(3), axes[1]->Positions(sizes[1]));
    for (int64_t n = 0; n < 2; ++n) {
      for (int64_t o = 0; o < out; ++o) {
        const int64_t first = o / (out / conv.groups) * in;
        for (int64_t r = 0; r < sums.size(2); ++r) {
          for (int64_t c = 0; c < sums.size(3); ++c) {
            int64_t sum = conv.bias[o].item<int64_t>();
            for (int64_t i = 0; i < in; ++i) {
              for (int64_t kr = 0; kr < axes[0]->kernel; ++kr) {
                for (int64_t kc = 0; kc < axes[1]->kernel; ++kc) {
                  const int64_t row = r * axes[0]->stride - axes[0]->before + kr * axes[0]->dilation;
                  const int64_t column = c * axes[1]->stride - axes[1]->before + kc * axes[1]->dilation;
                  if (row < 0 || column < 0 || row >= sizes[0] || column >= sizes[1]) continue;
                  sum += (x[n][first + i][row][column] - conv.zero_point) * w[o][i][kr][kc];
                }
              }
            }
            ASSERT_EQ(sums[n][o][r][c].item<int64_t>(), sum) << trial;
            const int64_t rescaled = Divided(static_cast<__int128>(sum) * conv.rescaling.multiplier[o].item<int64_t>(),
                                             conv.rescaling.shift[o].item<int64_t>());
            ASSERT_EQ(result[n][o][r][c].item<uint8_t>(), Placed(rescaled, conv.result)) << trial;
          }
        }
      }
    }
  }
}

TEST(IntegerOperatorsTest, SumsProductsAndConcats) {
  RandomStream stream(3, "sums");
  for (int trial = 0; trial < 200; ++trial) {
    const int64_t inputs = Between(stream, 1, 4);
    std::vector<at::Tensor> places;
    std::vector<double> factors;
    std::vector<int64_t> zero_points;
    for (int64_t k = 0; k < inputs; ++k) {
      places.push_back(RandomPlaces(stream, {1, 2, 3, 3}));
      factors.push_back(std::exp(4 * stream.Uniform() - 3));
      zero_points.push_back(Between(stream, 0, 255));
    }
    const ResultGrid grid = {Between(stream, 0, 255), 0, 255};
    const at::Tensor all = at::tensor(factors, at::kDouble);
    const IntegerSum sum = {zero_points, JointRescalingOf(all), grid};
    const IntegerConcat concat = {zero_points, RescalingOf(all), grid};
    const at::Tensor added = prunelab::Run(sum, places), joined = prunelab::Run(concat, places);
    ASSERT_EQ(joined.size(1), 2 * inputs);
    IntegerProduct product;
    product.zero_points[0] = zero_points[0];
    product.zero_points[1] = zero_points.back();
    product.rescaling = RescalingOf(at::scalar_tensor(factors[0] / 100, at::kDouble));
    product.result = grid;
    const at::Tensor multiplied = prunelab::Run(product, places[0], places.back());
    for (int64_t i = 0; i < 18; ++i) {
      const auto centered = [&](int64_t k) { return places[k].data_ptr<uint8_t>()[i] - zero_points[k]; };
      __int128 total = 0;
      for (int64_t k = 0; k < inputs; ++k) {
        total += static_cast<__int128>(centered(k)) * sum.rescaling.multiplier[k].item<int64_t>();
        const int64_t alone =
            Divided(static_cast<__int128>(centered(k)) * concat.rescaling.multiplier[k].item<int64_t>(),
                    concat.rescaling.shift[k].item<int64_t>());
        ASSERT_EQ(joined.select(0, 0)[2 * k + i / 9].flatten()[i % 9].item<uint8_t>(), Placed(alone, grid));
        // The factor itself, where the value lies clear of a half.
        const double exact = static_cast<double>(centered(k)) * factors[k];
        if (std::abs(exact - std::floor(exact) - 0.5) > 1e-5) {
          ASSERT_EQ(alone, std::llround(exact));
        }
      }
      ASSERT_EQ(added.flatten()[i].item<uint8_t>(), Placed(Divided(total, sum.rescaling.shift.item<int64_t>()), grid));
      const __int128 both = static_cast<__int128>(centered(0)) * centered(inputs - 1);
      ASSERT_EQ(
          multiplied.flatten()[i].item<uint8_t>(),
          Placed(Divided(both * product.rescaling.multiplier.item<int64_t>(), product.rescaling.shift.item<int64_t>()),
                 grid));
    }
  }
}

TEST(IntegerOperatorsTest, AveragesAreRoundedSums) {
  RandomStream stream(4, "pools");
  for (int trial = 0; trial < 60; ++trial) {
    const int64_t height = Between(stream, 3, 8), width = Between(stream, 3, 8);
    const bool padding = trial % 2 == 0;
    WindowAxis down, across;
    for (WindowAxis* axis : {&down, &across}) {
      axis->kernel = Between(stream, 2, 3);
      axis->stride = Between(stream, 1, 2);
      axis->before = Between(stream, 0, 1);
      axis->after = Between(stream, 0, 1);
    }
    IntegerAveragePool pool;
    pool.rows = PooledRows(down, height, padding);
    pool.columns = PooledRows(across, width, padding);
    pool.zero_point = Between(stream, 0, 255);
    pool.result = {pool.zero_point, 0, 255};
    at::Tensor factors =
        at::empty({static_cast<int64_t>(pool.rows.size()), static_cast<int64_t>(pool.columns.size())}, at::kDouble);
    for (size_t r = 0; r < pool.rows.size(); ++r) {
      for (size_t c = 0; c < pool.columns.size(); ++c) {
        factors[r][c] = 1.0 / static_cast<double>(pool.rows[r].length * pool.columns[c].length);
      }
    }
    pool.rescaling = RescalingOf(factors);
    const at::Tensor places = RandomPlaces(stream, {2, 3, height, width});
    const at::Tensor result = prunelab::Run(pool, places);
    // LibTorch's own average, of the values without their zero point.
    at::Tensor x = places.to(at::kDouble) - static_cast<double>(pool.zero_point);
    const bool even = down.before == down.after && across.before == across.after;
    if (!even) continue;
    const at::Tensor average = at::avg_pool2d(x, {down.kernel, across.kernel}, {down.stride, across.stride},
                                              {down.before, across.before}, /*ceil_mode=*/false, padding);
    ASSERT_EQ(average.sizes(), result.sizes());
    const at::Tensor difference = (result.to(at::kDouble) - static_cast<double>(pool.zero_point) - average).abs();
    EXPECT_LE(difference.max().item<double>(), 0.5 + 1e-6) << trial;
  }
}

TEST(IntegerOperatorsTest, TablesAreLookedUp) {
  const at::Tensor places = at::arange(256, at::kLong).to(at::kByte).view({1, 4, 8, 8});
  const IntegerTable table = {at::arange(255, -1, -1, at::kLong).to(at::kByte)};
  EXPECT_TRUE(at::equal(prunelab::Run(table, places), at::scalar_tensor(255, at::kByte) - places));
}

}  // namespace
}  // namespace prunelab
