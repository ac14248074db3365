#include "ml/regularizers/live_filters.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "ml/regularizers/testing/example_layers.h"

namespace prunelab {
namespace {

std::vector<int64_t> Live(const RegularizedLayer& layer) {
  const at::Tensor index = LiveFilters(layer).nonzero().squeeze(1);
  return std::vector<int64_t>(index.const_data_ptr<int64_t>(), index.const_data_ptr<int64_t>() + index.numel());
}

// Five filters of four weights: an ordinary one; zero; constant; mean |w| just below and just above 1e-4.
at::Tensor Weight(at::ScalarType dtype) {
  return at::tensor({1.0,     -1.0,     2.0,     0.0,   //
                     0.0,     0.0,      0.0,     0.0,   //
                     0.7,     0.7,      0.7,     0.7,   //
                     0.99e-4, -0.99e-4, 0.99e-4, 1e-4,  //
                     1.01e-4, -1.01e-4, 1e-4,    1.01e-4},
                    at::kDouble)
      .view({5, 1, 2, 2})
      .to(dtype);
}

TEST(LiveFiltersTest, NeedsSizeAndDirection) {
  for (const at::ScalarType dtype : {at::kDouble, at::kFloat}) {
    EXPECT_EQ(Live(ConvLayer("a", Weight(dtype))), (std::vector<int64_t>{0, 4}));
  }
}

TEST(LiveFiltersTest, DirectionIsJudgedRelativeToTheWeights) {
  // c = (e, -e, e, -e), |c| / |w| = e: 2e-6 is a direction, 5e-7 is none.
  const at::Tensor alternating = at::tensor({1.0, -1.0, 1.0, -1.0}, at::kDouble);
  const at::Tensor weight = at::stack({1 + 2e-6 * alternating, 1 + 5e-7 * alternating}).view({2, 1, 2, 2});
  EXPECT_EQ(Live(ConvLayer("a", weight)), (std::vector<int64_t>{0}));
}

TEST(LiveFiltersTest, FilterMasks) {
  const at::Tensor mask = at::tensor({0.0, 1.0, 1.0, 1.0, 1.0}, at::kDouble).view({5, 1, 1, 1});
  EXPECT_EQ(Live(ConvLayer("a", Weight(at::kDouble), mask)), (std::vector<int64_t>{4}));
}

TEST(LiveFiltersTest, WeightMasksAverageOverTheWholeRow) {
  // A weight of 3e-4 alone has mean |w| 0.75e-4 over its row of four; 5e-4 has 1.25e-4. A mask makes a constant filter
  // live.
  const at::Tensor weight = at::tensor({3e-4, 1.0, 1.0, 1.0,  //
                                        5e-4, 1.0, 1.0, 1.0,  //
                                        0.7, 0.7, 0.7, 0.7,   //
                                        1.0, 2.0, 3.0, 4.0},
                                       at::kDouble)
                                .view({4, 1, 2, 2});
  at::Tensor mask = at::zeros_like(weight);
  for (int filter = 0; filter < 3; ++filter) mask[filter].view({-1})[0] = 1;
  EXPECT_EQ(Live(ConvLayer("a", weight, mask)), (std::vector<int64_t>{1, 2}));
}

TEST(LiveFiltersTest, RowsGoThereAndBackInBothMemoryFormats) {
  const at::Tensor weight = FormulaWeight({4, 2, 3, 3}, 0);
  EXPECT_TRUE(at::equal(FilterRows(weight), weight.view({4, 18})));
  for (const at::Tensor& w : {weight, weight.contiguous(at::MemoryFormat::ChannelsLast)}) {
    const at::Tensor rows = FilterRows(w);
    EXPECT_EQ(rows.const_data_ptr(), w.const_data_ptr());  // no copy
    const at::Tensor back = FromFilterRows(rows, w);
    EXPECT_TRUE(at::equal(back, w));
    EXPECT_EQ(back.strides(), w.strides());
  }
}

TEST(LiveFiltersTest, MasksOfOneWeightAFilterAreFilterMasks) {
  const RegularizedLayer layer = ConvLayer("a", at::ones({3, 1, 1, 1}), at::ones({3, 1, 1, 1}));
  EXPECT_FALSE(HasWeightMask(layer));
  EXPECT_EQ(FilterMask(layer).numel(), 3);
  EXPECT_FALSE(FilterMask(ConvLayer("a", at::ones({3, 1, 2, 2}))).defined());
}

TEST(LiveFiltersTest, UnitRowsAreZeroWhereNothingLives) {
  at::Tensor weight = Weight(at::kDouble).requires_grad_();
  for (const bool centred : {false, true}) {
    const UnitRows unit = LiveUnitRows(ConvLayer("a", weight), centred);
    EXPECT_TRUE(at::equal(unit.live, at::tensor({1.0, 0.0, 0.0, 0.0, 1.0}, at::kDouble)));
    const at::Tensor rows = weight.detach().view({5, 4}).index_select(0, at::tensor({0, 4}, at::kLong));
    const at::Tensor directed = centred ? rows - rows.mean(1, true) : rows;
    const at::Tensor expected = directed / directed.norm(2, at::IntArrayRef{1}, true);
    EXPECT_LE((unit.rows.index_select(0, at::tensor({0, 4}, at::kLong)) - expected).abs().max().item<double>(), 1e-15);
    EXPECT_EQ(unit.rows.slice(0, 1, 4).abs().max().item<double>(), 0);
    const at::Tensor gradient = torch::autograd::grad({(unit.rows * unit.rows.detach().add(1)).sum()}, {weight})[0];
    EXPECT_TRUE(gradient.isfinite().all().item<bool>());
    EXPECT_EQ(gradient.slice(0, 1, 4).abs().max().item<double>(), 0);
  }
}

}  // namespace
}  // namespace prunelab
