#include "ml/regularizers/conv_batches.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

// "a" and "c" are of one shape, "b" of another, "d" of a's shape in the other memory format.
std::vector<RegularizedLayer> Layers() {
  return {ConvLayer("a", FormulaWeight({4, 2, 3, 3}, 0)), ConvLayer("b", FormulaWeight({2, 4, 3, 3}, 1)),
          ConvLayer("c", FormulaWeight({4, 2, 3, 3}, 2)),
          ConvLayer("d", FormulaWeight({4, 2, 3, 3}, 3).contiguous(at::MemoryFormat::ChannelsLast))};
}

TEST(ConvBatchesTest, OneShapeAndMemoryFormatABatch) {
  const std::vector<RegularizedLayer> layers = Layers();
  const std::vector<ConvBatch> batches = BatchConvs(layers, {"a", "b", "c", "d"});
  ASSERT_EQ(batches.size(), 3u);
  EXPECT_EQ(batches[0].layers, (std::vector<size_t>{0, 2}));
  EXPECT_EQ(batches[1].layers, (std::vector<size_t>{1}));
  EXPECT_EQ(batches[2].layers, (std::vector<size_t>{3}));
  EXPECT_TRUE(at::equal(batches[0].rows[1], FilterRows(layers[2].weight)));
  EXPECT_FALSE(batches[0].filter_mask.defined());
}

TEST(ConvBatchesTest, NamedConvolutionsOnly) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[0].kind = RegularizedLayer::Kind::kLinear;
  const std::vector<ConvBatch> batches = BatchConvs(layers, {"a", "c"});
  ASSERT_EQ(batches.size(), 1u);
  EXPECT_EQ(batches[0].layers, (std::vector<size_t>{2}));
}

TEST(ConvBatchesTest, RowsAreACopyAndMasksOfBothKindsMix) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[0].mask = at::tensor({1.0, 0.0, 1.0, 1.0}, at::kDouble).view({4, 1, 1, 1});
  layers[2].mask = FormulaWeight({4, 2, 3, 3}, 5).gt(0).to(at::kDouble);
  const std::vector<ConvBatch> batches = BatchConvs(layers, {"a", "c", "d"});
  const at::Tensor expected_mask = at::ones({2, 4}, at::kBool);
  expected_mask[0][1] = false;
  EXPECT_TRUE(at::equal(batches[0].filter_mask, expected_mask));
  EXPECT_TRUE(at::equal(batches[0].rows[0], FilterRows(layers[0].weight)));
  EXPECT_TRUE(at::equal(batches[0].rows[1], FilterRows(layers[2].weight * layers[2].mask)));
  const at::Tensor before = layers[3].weight.clone();
  batches[1].rows.zero_();
  EXPECT_TRUE(at::equal(layers[3].weight, before));
}

TEST(ConvBatchesTest, GradientsGoBackToTheirLayersTimesWeightMasks) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[2].mask = FormulaWeight({4, 2, 3, 3}, 5).gt(0).to(at::kDouble);
  std::vector<at::Tensor> gradients(layers.size());
  for (const ConvBatch& batch : BatchConvs(layers, {"a", "c", "d"})) {
    batch.StoreGradients(at::ones_like(batch.rows).mul_(2), layers, gradients);
  }
  EXPECT_TRUE(at::equal(gradients[0], at::full({4, 2, 3, 3}, 2, at::kDouble)));
  EXPECT_FALSE(gradients[1].defined());
  EXPECT_TRUE(at::equal(gradients[2], 2 * layers[2].mask));
  EXPECT_EQ(gradients[3].strides(), layers[3].weight.strides());
}

}  // namespace
}  // namespace prunelab
