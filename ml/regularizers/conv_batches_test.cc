#include "ml/regularizers/conv_batches.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>
#include <gtest/gtest.h>

#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/testing/example_layers.h"

namespace prunelab {
namespace {

// "a" and "c" are of one shape, "b" of another, "d" of a's shape in the other memory format.
std::vector<RegularizedLayer> Layers() {
  return {ConvLayer("a", FormulaWeight({4, 2, 3, 3}, 0)), ConvLayer("b", FormulaWeight({2, 4, 3, 3}, 1)),
          ConvLayer("c", FormulaWeight({4, 2, 3, 3}, 2)),
          ConvLayer("d", FormulaWeight({4, 2, 3, 3}, 3).contiguous(at::MemoryFormat::ChannelsLast))};
}

TEST(ConvBatchesTest, OneShapeAndMemoryFormatAGroup) {
  EXPECT_EQ(GroupConvs(Layers(), {"a", "b", "c", "d"}), (std::vector<ConvGroup>{{0, 2}, {1}, {3}}));
}

TEST(ConvBatchesTest, NamedConvolutionsOnly) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[0].kind = RegularizedLayer::Kind::kLinear;
  EXPECT_EQ(GroupConvs(layers, {"a", "c"}), (std::vector<ConvGroup>{{2}}));
  EXPECT_TRUE(GroupConvs(layers, {}).empty());
}

TEST(ConvBatchesTest, LargeLayersMakeSeveralGroups) {
  // 64 * 64 * 9 floats are 144 KiB: two in 400 KiB.
  const at::Tensor weight = at::ones({64, 64, 3, 3});
  std::vector<RegularizedLayer> layers;
  for (int i = 0; i < 5; ++i) layers.push_back(ConvLayer("a", weight));
  EXPECT_EQ(GroupConvs(layers, {"a"}), (std::vector<ConvGroup>{{0, 1}, {2, 3}, {4}}));
}

TEST(ConvBatchesTest, EveryGroupIsVisitedOnceWithoutGradientsAndWithAnyNumberOfThreads) {
  const std::vector<RegularizedLayer> layers = Layers();
  const std::vector<ConvGroup> groups = GroupConvs(layers, {"a", "b", "c", "d"});
  const int threads = at::get_num_threads();
  for (const int count : {1, 2, 5}) {
    at::set_num_threads(count);
    std::vector<int> visits(groups.size()), with_gradients(groups.size());
    ForEachGroup(groups, layers, [&](size_t g) {
      ++visits[g];
      with_gradients[g] = c10::GradMode::is_enabled();
    });
    EXPECT_EQ(visits, std::vector<int>(groups.size(), 1));
    EXPECT_EQ(with_gradients, std::vector<int>(groups.size(), 0));
  }
  at::set_num_threads(threads);
  ForEachGroup({}, {}, [](size_t) { FAIL(); });
}

TEST(ConvBatchesTest, RowsAreACopyAndMasksOfBothKindsMix) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[0].mask = at::tensor({1.0, 0.0, 1.0, 1.0}, at::kDouble).view({4, 1, 1, 1});
  layers[2].mask = FormulaWeight({4, 2, 3, 3}, 5).gt(0).to(at::kDouble);
  const ConvBatch batch = StackConvs(layers, {0, 2});
  const at::Tensor expected_mask = at::ones({2, 4}, at::kBool);
  expected_mask[0][1] = false;
  EXPECT_TRUE(at::equal(batch.filter_mask, expected_mask));
  EXPECT_TRUE(at::equal(batch.rows[0], FilterRows(layers[0].weight)));
  EXPECT_TRUE(at::equal(batch.rows[1], FilterRows(layers[2].weight * layers[2].mask)));
  const at::Tensor before = layers[3].weight.clone();
  const ConvBatch single = StackConvs(layers, {3});
  EXPECT_FALSE(single.filter_mask.defined());
  single.rows.zero_();
  EXPECT_TRUE(at::equal(layers[3].weight, before));
}

TEST(ConvBatchesTest, GradientsGoBackToTheirLayersTimesWeightMasks) {
  std::vector<RegularizedLayer> layers = Layers();
  layers[2].mask = FormulaWeight({4, 2, 3, 3}, 5).gt(0).to(at::kDouble);
  std::vector<at::Tensor> gradients(layers.size());
  for (const ConvGroup& group : GroupConvs(layers, {"a", "c", "d"})) {
    StoreGradients(at::ones_like(StackConvs(layers, group).rows).mul_(2), layers, group, gradients);
  }
  EXPECT_TRUE(at::equal(gradients[0], at::full({4, 2, 3, 3}, 2, at::kDouble)));
  EXPECT_FALSE(gradients[1].defined());
  EXPECT_TRUE(at::equal(gradients[2], 2 * layers[2].mask));
  EXPECT_EQ(gradients[3].strides(), layers[3].weight.strides());
}

}  // namespace
}  // namespace prunelab
