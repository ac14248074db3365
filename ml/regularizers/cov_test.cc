#include "ml/regularizers/cov.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/reference_check.h"

namespace prunelab {
namespace {

// Three filters of 4 weights. Less their means they are (1, -1, 0, 0), (1, 0, -1, 0) and (0, 0, 1, -1), each of length
// sqrt(2): rho_12 = 1/2, rho_13 = 0, rho_23 = -1/2. With delta = 0.375, phi(1/2) = sqrt(0.25 + 0.140625) - 0.375 =
// 0.625 - 0.375 = 0.25 and phi'(1/2) = 0.5 / 0.625 = 0.8. There are 3 pairs, so R = (0.25 + 0 + 0.25) / 3 = 1/6.
// Gradient of filter 1: g = (1/3) 0.8 u_2, g . u_1 = 0.4 / 3, so
//   (g - (g . u_1) u_1) / sqrt(2) = (1/3) (0.8 (1, 0, -1, 0) - 0.4 (1, -1, 0, 0)) / 2 = (1, 1, -2, 0) / 15.
// Filter 2: g = (1/3) 0.8 (u_1 - u_3), g . u_2 = 0.8 / 3, giving (0, -2, 0, 2) / 15.
// Filter 3: g = -(1/3) 0.8 u_2, g . u_3 = 0.4 / 3, giving (-2, 0, 1, 1) / 15. All have mean 0 already.
TEST(CovTest, HandComputedCase) {
  Cov parameters;
  parameters.set_delta(0.375);
  const auto regularizer = CreateCov(parameters, ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  const at::Tensor weight =
      at::tensor({1.5, -0.5, 0.5, 0.5, 0.0, -1.0, -2.0, -1.0, 0.25, 0.25, 1.25, -0.75}, at::kDouble).view({3, 1, 2, 2});
  const Penalty penalty = (*regularizer)->ValueAndGradients(OneLayer(weight));
  EXPECT_NEAR(penalty.value.item<double>(), 1.0 / 6, 1e-15);
  const at::Tensor expected =
      at::tensor({1, 1, -2, 0, 0, -2, 0, 2, -2, 0, 1, 1}, at::kDouble).div_(15).view({3, 1, 2, 2});
  EXPECT_LE((penalty.gradients[0] - expected).abs().max().item<double>(), 1e-15);
}

// The same three filters with a fourth that its mask turns off; then with filter 3 off: one pair is left, phi(1/2) =
// 0.25.
TEST(CovTest, CountsPairsOfLiveFilters) {
  Cov parameters;
  parameters.set_delta(0.375);
  const auto regularizer = CreateCov(parameters, ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  std::vector<RegularizedLayer> layers = OneLayer(
      at::tensor({1.5, -0.5, 0.5, 0.5, 0.0, -1.0, -2.0, -1.0, 0.25, 0.25, 1.25, -0.75, 3., 1., 4., 1.}, at::kDouble)
          .view({4, 1, 2, 2}));
  layers[0].mask = at::tensor({1, 1, 1, 0}, at::kDouble).view({4, 1, 1, 1});
  EXPECT_NEAR((*regularizer)->ValueAndGradients(layers).value.item<double>(), 1.0 / 6, 1e-15);
  layers[0].mask = at::tensor({1, 1, 0, 0}, at::kDouble).view({4, 1, 1, 1});
  EXPECT_NEAR((*regularizer)->ValueAndGradients(layers).value.item<double>(), 0.25, 1e-15);
}

TEST(CovTest, EqualsReferenceValues) { ExpectReferenceCases<Cov>(CreateCov); }

// Independent filters in d dimensions have E|rho| about sqrt(2 / (pi d)).
TEST(CovTest, StartsAtAboutTwoPointFourOnResNet56) {
  const auto regularizer = CreateCov(Cov(), ResNet56());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  EXPECT_NEAR((*regularizer)->ValueAndGradients(ResNet56Layers(1)).value.item<double>(), 2.4, 0.1);
}

}  // namespace
}  // namespace prunelab
