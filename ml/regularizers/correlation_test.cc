#include "ml/regularizers/correlation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/regularizers/testing/example_layers.h"
#include "ml/regularizers/testing/reference_values.h"

namespace prunelab {
namespace {

// Centred filters (1, -1, 1, -1), (1, 1, -1, -1), (3, 1, -1, -3) with offsets, and a constant one that is not live:
// rho_12 = 0, rho_13 = (3 - 1 - 1 + 3) / (2 sqrt 20) = 1 / sqrt 5, rho_23 = (3 + 1 + 1 + 3) / (2 sqrt 20) = 2 / sqrt 5.
at::Tensor HandWeight() {
  return at::tensor({6.0, 4.0, 6.0, 4.0,    //
                     0.5, 0.5, 0.5, 0.5,    //
                     1.0, 1.0, -1.0, -1.0,  //
                     5.0, 3.0, 1.0, -1.0},
                    at::kDouble)
      .view({4, 1, 2, 2});
}

TEST(CorrelationTest, ByHand) {
  const at::Tensor rho = FilterCorrelations(ConvLayer("a", HandWeight()));
  const double r = 1 / std::sqrt(5);
  const at::Tensor expected = at::tensor({1.0, 0.0, r, 0.0, 1.0, 2 * r, r, 2 * r, 1.0}, at::kDouble).view({3, 3});
  EXPECT_LE((rho - expected).abs().max().item<double>(), 1e-15);
  EXPECT_NEAR(*MeanAbsRho({ConvLayer("a", HandWeight())}), r, 1e-15);  // (0 + 1 + 2) / (3 sqrt 5)
}

TEST(CorrelationTest, MeanIsOverLayersWithPairsOnly) {
  const at::Tensor pair = HandWeight().slice(0, 2, 4);  // rho = 2 / sqrt 5
  RegularizedLayer linear = ConvLayer("fc", at::ones({2, 3}));
  linear.kind = RegularizedLayer::Kind::kLinear;
  const std::vector<RegularizedLayer> layers = {
      ConvLayer("a", HandWeight()), linear, ConvLayer("pointwise", HandWeight().view({4, 4, 1, 1})),
      ConvLayer("single", HandWeight().slice(0, 0, 1)), ConvLayer("pair", pair)};
  EXPECT_NEAR(*MeanAbsRho(layers), 1.5 / std::sqrt(5), 1e-15);
}

TEST(CorrelationTest, AbsentWithoutPairs) {
  EXPECT_FALSE(MeanAbsRho({}).has_value());
  EXPECT_FALSE(MeanAbsRho({ConvLayer("a", at::ones({4, 2, 3, 3}))}).has_value());
  EXPECT_FALSE(MeanAbsRho({ConvLayer("a", HandWeight(), at::zeros({4, 1, 1, 1}, at::kDouble))}).has_value());
}

TEST(CorrelationTest, ValuesOfNumpy) {
  EXPECT_NEAR(*MeanAbsRho(FormulaLayers(at::kDouble, false)), reference::kMeanAbsRho, 1e-14);
  EXPECT_NEAR(*MeanAbsRho(FormulaLayers(at::kDouble, true)), reference::kMeanAbsRhoMasked, 1e-14);
  EXPECT_NEAR(*MeanAbsRho(FormulaLayers(at::kFloat, true)), reference::kMeanAbsRhoMasked, 1e-6);
}

TEST(CorrelationTest, MemoryFormatDoesNotMatter) {
  std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, true);
  for (RegularizedLayer& layer : layers) layer.weight = layer.weight.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_NEAR(*MeanAbsRho(layers), reference::kMeanAbsRhoMasked, 1e-14);
}

}  // namespace
}  // namespace prunelab
