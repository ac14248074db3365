#include "ml/quantization/ranges.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ml/base/random.h"
#include "ml/network/fake_quantize.h"
#include "ml/quantization/quantization_values.h"

namespace prunelab {
namespace {

// sin(k) + k / 500, squared where it is positive: skew, and with long ends.
std::vector<double> Values(int64_t count) {
  std::vector<double> values;
  for (int64_t k = 0; k < count; ++k) {
    const double x = std::sin(static_cast<double>(k)) + static_cast<double>(k % 500) / 500;
    values.push_back(x > 0 ? x * x : x);
  }
  return values;
}

ValueHistogram HistogramOf(const std::vector<double>& values) {
  ValueHistogram histogram;
  const at::Tensor tensor = at::tensor(values, at::kDouble);
  histogram.AddRange(tensor);
  for (int64_t begin = 0; begin < tensor.size(0); begin += 100) {
    histogram.AddCounts(tensor.slice(0, begin, begin + 100));
  }
  return histogram;
}

TEST(RangesTest, GridsAreThoseOfPyTorchsObserver) {
  for (const GridValue& value : kGridValues) {
    const Grid grid = GridOf({value.low, value.high}, value.bits);
    EXPECT_FLOAT_EQ(grid.scale, value.scale) << value.low << " to " << value.high;
    EXPECT_EQ(grid.zero_point, value.zero_point) << value.low << " to " << value.high;
  }
}

TEST(RangesTest, NothingButZeroHasAGrid) {
  const Grid grid = GridOf({0, 0}, 8);
  EXPECT_EQ(grid.scale, 1);
  EXPECT_EQ(grid.zero_point, 0);
}

TEST(RangesTest, ChosenRangesAreThoseOfNumpy) {
  const ValueHistogram histogram = HistogramOf(Values(2000));
  for (const RangeValue& value : kRangeValues) {
    RangeOptions options;
    options.method = value.percentile > 0 ? RangeMethod::kPercentile : RangeMethod::kMeanSquareError;
    if (value.percentile > 0) options.percentile = value.percentile;
    const ValueRange range = ChooseRange(histogram, options, value.bits);
    EXPECT_NEAR(range.low, value.low, 1e-9) << value.percentile << " " << value.bits;
    EXPECT_NEAR(range.high, value.high, 1e-9) << value.percentile << " " << value.bits;
  }
}

TEST(RangesTest, HistogramsCountEachValueOnce) {
  ValueHistogram histogram = HistogramOf({-1, 0, 1, 3});
  EXPECT_EQ(histogram.low, -1);
  EXPECT_EQ(histogram.high, 3);
  EXPECT_EQ(histogram.counts[0], 1);
  EXPECT_EQ(histogram.counts[ValueHistogram::kBins / 4], 1);
  EXPECT_EQ(histogram.counts[ValueHistogram::kBins / 2], 1);
  EXPECT_EQ(histogram.counts[ValueHistogram::kBins - 1], 1);
  // Zero is in the range although no value is.
  EXPECT_EQ(HistogramOf({2, 3}).low, 0);
  EXPECT_EQ(HistogramOf({-2, -3}).high, 0);
}

TEST(RangesTest, WeightScalesAreThoseOfNumpy) {
  const at::Tensor weight = at::tensor(Values(600), at::kDouble).view({4, 150}).clone();
  weight[2].zero_();
  for (const WeightScaleValue& value : kWeightScaleValues) {
    const RangeMethod method = value.mean_square_error ? RangeMethod::kMeanSquareError : RangeMethod::kMinMax;
    const at::Tensor scale = WeightScales(weight, method, value.bits);
    EXPECT_NEAR(scale[value.row].item<float>(), value.scale, 1e-6 * value.scale) << value.bits << " row " << value.row;
  }
}

TEST(RangesTest, LevelsAreWholeAndKeepZero) {
  RandomStream stream(1, "weights");
  at::Tensor weight = at::empty({5, 3, 3, 3}, at::kFloat);
  for (int64_t i = 0; i < weight.numel(); ++i) {
    weight.data_ptr<float>()[i] = stream.Uniform() < 0.3 ? 0 : static_cast<float>(stream.Normal());
  }
  for (int64_t bits = 2; bits <= 8; ++bits) {
    const at::Tensor scale = WeightScales(weight, RangeMethod::kMeanSquareError, bits);
    const at::Tensor levels = WeightLevels(weight, scale, bits);
    EXPECT_LE(levels.abs().max().item<int64_t>(), LargestLevel(bits));
    EXPECT_TRUE((levels == 0).logical_or(weight != 0).all().item<bool>());
    // What lies on the grid stays where it is.
    const at::Tensor on_grid = WeightsOfLevels(levels, scale);
    EXPECT_TRUE(at::equal(WeightLevels(on_grid, scale, bits), levels));
    const double whole =
        (weight - WeightsOfLevels(WeightLevels(weight, WeightScales(weight, RangeMethod::kMinMax, bits), bits),
                                  WeightScales(weight, RangeMethod::kMinMax, bits)))
            .square()
            .sum()
            .item<double>();
    EXPECT_LE((weight - on_grid).square().sum().item<double>(), whole * (1 + 1e-6)) << bits;
  }
}

TEST(RangesTest, FakeQuantizeIsPyTorchs) {
  RandomStream stream(2, "activations");
  at::Tensor x = at::empty({4000}, at::kDouble);
  for (int64_t i = 0; i < x.numel(); ++i) x.data_ptr<double>()[i] = 2 * stream.Normal();
  for (const int64_t bits : {2, 4, 8}) {
    FakeQuantize node;
    node.set_bits(bits);
    // PyTorch multiplies in float32: without rounding here.
    const Grid grid = {5.0f / static_cast<float>(1 << bits), (1 << bits) / 3};
    const auto scalar = [](double value) { return at::scalar_tensor(value, at::kDouble); };
    const at::Tensor ours =
        ApplyFakeQuantize(node, x, scalar(grid.scale), scalar(static_cast<double>(grid.zero_point)));
    const at::Tensor theirs =
        at::fake_quantize_per_tensor_affine(x, static_cast<double>(grid.scale), grid.zero_point, 0, LastPlace(node));
    EXPECT_LT((ours - theirs).abs().max().item<double>(), 1e-12) << bits;
  }
}

TEST(RangesTest, MethodsHaveNames) {
  EXPECT_EQ(*ParseRangeMethod("percentile"), RangeMethod::kPercentile);
  EXPECT_EQ(ParseRangeMethod("best").status().message(), "best: must be min_max, percentile or mean_square_error");
}

}  // namespace
}  // namespace prunelab
