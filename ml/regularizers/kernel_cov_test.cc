#include "ml/regularizers/kernel_cov.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/reference_check.h"

namespace prunelab {
namespace {

// A filter of two 2x2 slices, [[1, 3], [2, -2]] and [[5, 5], [2, 2]], and one that its mask turns off.
std::vector<RegularizedLayer> HandLayers() {
  std::vector<RegularizedLayer> layers =
      OneLayer(at::tensor({1, 3, 2, -2, 5, 5, 2, 2, 7, 1, 8, 2, 8, 1, 8, 2}, at::kDouble).view({2, 2, 2, 2}));
  layers[0].mask = at::tensor({1, 0}, at::kDouble).view({2, 1, 1, 1});
  return layers;
}

// The first slice's rows less their means are (-1, 1) and (2, -2), one column less than two is 1: cov = [[2, -4], [-4,
// 8]], the absolute upper triangle sums to 2 + 4 + 8 = 14. The gradient in row 0 is 2 (-1, 1) - (2, -2) = (-4, 4), in
// row 1 2 (2, -2) - (-1, 1) = (5, -5). The second slice's rows are constant: all covariances 0, and sign(0) = 0.
TEST(KernelCovTest, HandComputedCase) {
  const auto regularizer = CreateKernelCov(KernelCov(), ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  const Penalty penalty = (*regularizer)->ValueAndGradients(HandLayers());
  EXPECT_EQ(penalty.value.item<double>(), 14);
  const at::Tensor expected =
      at::tensor({-4, 4, 5, -5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, at::kDouble).view({2, 2, 2, 2});
  EXPECT_TRUE(at::equal(penalty.gradients[0], expected)) << penalty.gradients[0];
}

// Two slices of live filters: value and gradient are halved.
TEST(KernelCovTest, MeanIsOverSlicesOfLiveFilters) {
  KernelCov parameters;
  parameters.set_scale(KernelCov::MEAN);
  const auto regularizer = CreateKernelCov(parameters, ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  const Penalty penalty = (*regularizer)->ValueAndGradients(HandLayers());
  EXPECT_EQ(penalty.value.item<double>(), 7);
  EXPECT_EQ(penalty.gradients[0][0][0][1][0].item<double>(), 2.5);
}

// Under a weight mask the slice [[1, 3], [2, -2]] becomes [[1, 3], [0, -2]]: centred rows (-1, 1) and (1, -1), cov
// [[2, -2], [-2, 2]], value 6. Gradient rows: 2 (-1, 1) - (1, -1) = (-3, 3) and 2 (1, -1) - (-1, 1) = (3, -3), whose
// first entry the mask takes.
TEST(KernelCovTest, TakesMaskedWeights) {
  const auto regularizer = CreateKernelCov(KernelCov(), ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  std::vector<RegularizedLayer> layers = OneLayer(at::tensor({1, 3, 2, -2}, at::kDouble).view({1, 1, 2, 2}));
  layers[0].mask = at::tensor({1, 1, 0, 1}, at::kDouble).view({1, 1, 2, 2});
  const Penalty penalty = (*regularizer)->ValueAndGradients(layers);
  EXPECT_EQ(penalty.value.item<double>(), 6);
  EXPECT_TRUE(at::equal(penalty.gradients[0], at::tensor({-3, 3, 0, -3}, at::kDouble).view({1, 1, 2, 2})))
      << penalty.gradients[0];
}

TEST(KernelCovTest, EqualsReferenceValues) { ExpectReferenceCases<KernelCov>(CreateKernelCov); }

TEST(KernelCovTest, StartsAtAbout1972OnResNet56) {
  const auto regularizer = CreateKernelCov(KernelCov(), ResNet56());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  EXPECT_NEAR((*regularizer)->ValueAndGradients(ResNet56Layers(1)).value.item<double>(), 1972, 40);
}

}  // namespace
}  // namespace prunelab
