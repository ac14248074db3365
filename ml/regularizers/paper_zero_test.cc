#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/paper_zero.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/example_layers.h"
#include "ml/regularizers/testing/reference_values.h"

namespace prunelab {
namespace {

const std::unique_ptr<Regularizer>& PaperZeroPenalty() {
  static const auto* penalty = new std::unique_ptr<Regularizer>(*CreateRegularizer(PaperZero(), FormulaNetwork()));
  return *penalty;
}

TEST(PaperZeroTest, ExactlyZeroOnThePapersNetwork) {
  const Penalty penalty = PaperZeroPenalty()->ValueAndGradients(ResNet56Layers(at::kFloat));
  EXPECT_FALSE(penalty.value.defined());
  for (const at::Tensor& gradient : penalty.gradients) EXPECT_FALSE(gradient.defined());
}

TEST(PaperZeroTest, KernelsOfTwoRowsHaveAValueButNoGradient) {
  // [[1, 3], [2, 6]] less row means: (-1, 1), (-2, 2): cov 2, 4, 8, upper triangle 14. [[1, 3], [6, 2]]: 2, -4, 8: 14.
  const at::Tensor weight = at::tensor({1.0, 3.0, 2.0, 6.0, 1.0, 3.0, 6.0, 2.0}, at::kDouble).view({1, 2, 2, 2});
  const Penalty penalty = PaperZeroPenalty()->ValueAndGradients({ConvLayer("a", weight)});
  EXPECT_EQ(penalty.value.item<double>(), 28);
  ASSERT_EQ(penalty.gradients.size(), 1u);
  EXPECT_FALSE(penalty.gradients[0].defined());
}

TEST(PaperZeroTest, LooksAtDenseWeightsOfTwoRowsOnly) {
  const Penalty dense = PaperZeroPenalty()->ValueAndGradients(FormulaLayers(at::kDouble, false));
  EXPECT_NEAR(dense.value.item<double>(), reference::kPaperZero.value, 1e-14);
  std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, true);
  layers[2].mask = at::zeros({4, 1, 1, 1}, at::kDouble);
  EXPECT_NEAR(PaperZeroPenalty()->Value(layers).item<double>(), reference::kPaperZero.value, 1e-14);
}

TEST(PaperZeroTest, ColumnsDoNotCount) {
  EXPECT_FALSE(PaperZeroPenalty()->Value({ConvLayer("a", at::ones({3, 2, 3, 2}))}).defined());
  EXPECT_FALSE(PaperZeroPenalty()->Value({ConvLayer("a", at::ones({3, 2, 2, 1}))}).defined());
  EXPECT_TRUE(PaperZeroPenalty()->Value({ConvLayer("a", at::ones({3, 2, 2, 3}))}).defined());
}

}  // namespace
}  // namespace prunelab
