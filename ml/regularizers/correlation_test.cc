#include "ml/regularizers/correlation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/reference_values.h"

namespace prunelab {
namespace {

// The filters of cov_test.cc: rho_12 = 1/2, rho_13 = 0, rho_23 = -1/2.
RegularizedLayer HandLayer() {
  return OneLayer(at::tensor({1.5, -0.5, 0.5, 0.5, 0.0, -1.0, -2.0, -1.0, 0.25, 0.25, 1.25, -0.75}, at::kDouble)
                      .view({3, 1, 2, 2}))[0];
}

TEST(CorrelationTest, HandComputedCase) {
  const at::Tensor expected = at::tensor({1., .5, 0., .5, 1., -.5, 0., -.5, 1.}, at::kDouble).view({3, 3});
  EXPECT_LE((FilterCorrelations(HandLayer()) - expected).abs().max().item<double>(), 1e-15);
  EXPECT_NEAR(*MeanAbsRho({HandLayer()}), 1.0 / 3, 1e-15);
}

TEST(CorrelationTest, IsTheMeanOverLayersThatHavePairs) {
  RegularizedLayer one_pair = HandLayer();  // rho_12 alone: 1/2
  one_pair.mask = at::tensor({1, 1, 0}, at::kDouble).view({3, 1, 1, 1});
  RegularizedLayer no_pair = HandLayer();
  no_pair.mask = at::tensor({0, 1, 0}, at::kDouble).view({3, 1, 1, 1});
  RegularizedLayer nothing = HandLayer();
  nothing.mask = at::zeros({3, 1, 1, 1}, at::kDouble);
  RegularizedLayer pointwise = HandLayer();
  pointwise.weight = pointwise.weight.reshape({3, 4, 1, 1});
  RegularizedLayer linear;
  linear.kind = RegularizedLayer::Kind::kLinear;
  linear.weight = at::ones({3, 4}, at::kDouble);
  EXPECT_NEAR(*MeanAbsRho({HandLayer(), one_pair, no_pair, nothing, pointwise, linear}), (1.0 / 3 + 0.5) / 2, 1e-15);
  EXPECT_FALSE(MeanAbsRho({no_pair, nothing, pointwise, linear}).has_value());
  EXPECT_FALSE(MeanAbsRho({}).has_value());
}

TEST(CorrelationTest, EqualsNumpysCorrcoef) { EXPECT_NEAR(*MeanAbsRho(ExampleLayers()), kReferenceMeanAbsRho, 1e-14); }

TEST(CorrelationTest, IsDifferentiableAndLeavesNoGraph) {
  RegularizedLayer layer = HandLayer();
  layer.weight.requires_grad_();
  EXPECT_TRUE(FilterCorrelations(layer).requires_grad());
  EXPECT_NEAR(*MeanAbsRho({layer}), 1.0 / 3, 1e-15);
}

TEST(LiveFiltersTest, AreThoseWithADirection) {
  const at::Tensor base = at::tensor({1., -1., 2., 0.}, at::kDouble).view({1, 2, 2});
  const at::Tensor constant = at::ones({1, 2, 2}, at::kDouble);
  RegularizedLayer layer = OneLayer(at::stack({
      base,
      base * 0.99e-4,            // mean |w| = 0.99e-4
      base * 1.01e-4,            // 1.01e-4
      constant * 3,              // no direction
      constant + base * 1e-7,    // |c| / |w| = 1.12e-7
      constant + base * 2.5e-6,  // 2.8e-6
  }))[0];
  const auto live = [&] {
    const at::Tensor live = LiveFilters(layer);
    std::string text;
    for (int64_t i = 0; i < live.numel(); ++i) text += live[i].item<bool>() ? '1' : '0';
    return text;
  };
  EXPECT_EQ(live(), "101001");
  layer.mask = at::tensor({1, 1, 0, 1, 1, 1}, at::kDouble).view({6, 1, 1, 1});
  EXPECT_EQ(live(), "100001");
  // Of a weight mask, the masked weights count as zeros: the constant filter gets a direction, the first one loses all.
  layer.mask = at::ones_like(layer.weight);
  layer.mask[0].zero_();
  layer.mask[3][0][0][0] = 0;
  EXPECT_EQ(live(), "001101");
}

// Rows in the memory's own order are the same filters, whatever that order is.
TEST(LiveFiltersTest, RowsKeepTheOrderOfMemory) {
  const at::Tensor weight = FormulaTensor({3, 4, 2, 5}, 1);
  for (const at::Tensor& laid_out : {weight, weight.contiguous(at::MemoryFormat::ChannelsLast)}) {
    const at::Tensor rows = FilterRows(laid_out);
    EXPECT_EQ(rows.sizes(), at::IntArrayRef({3, 40}));
    EXPECT_TRUE(rows.is_alias_of(laid_out)) << "copied";
    EXPECT_TRUE(at::equal(FromFilterRows(rows, laid_out), weight));
  }
}

}  // namespace
}  // namespace prunelab
