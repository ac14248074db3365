#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/regularizers/cov.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(double delta, const NetworkInfo& network) {
  Cov parameters;
  parameters.set_delta(delta);
  return *CreateRegularizer(parameters, network);
}

TEST(CovTest, ByHand) {
  // Centred filters (1, -1, 1, -1), (1, 1, -1, -1), (3, 1, -1, -3): rho^2 = 0, 1/5, 4/5. With delta = 1/2:
  // R = 2 / (3 * 2) * (0 + sqrt(0.2 + 0.25) - 0.5 + sqrt(0.8 + 0.25) - 0.5).
  const at::Tensor weight =
      at::tensor({6.0, 4.0, 6.0, 4.0, 1.0, 1.0, -1.0, -1.0, 5.0, 3.0, 1.0, -1.0}, at::kDouble).view({3, 1, 2, 2});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  const std::unique_ptr<Regularizer> cov = Make(0.5, FormulaNetwork());
  const double expected = (std::sqrt(0.45) + std::sqrt(1.05) - 1) / 3;
  EXPECT_NEAR(cov->Value(layers).item<double>(), expected, 1e-15);
  const Penalty penalty = cov->ValueAndGradients(layers);
  EXPECT_NEAR(penalty.value.item<double>(), expected, 1e-15);
  // Row 1: with u the unit rows and phi'(r) = r / sqrt(r^2 + 1/4), g = phi'(rho_13) u_3 / 3, and
  // (g - (g . u_1) u_1) / |c_1| = phi'(rho_13) / 3 * (u_3 - u_1 / sqrt 5) / 2. Here u_3 = (3, 1, -1, -3) / sqrt 20 and
  // u_1 / sqrt 5 = (1, -1, 1, -1) / sqrt 20, so the row is phi'(rho_13) / (6 sqrt 20) * (2, 2, -2, -2), with
  // phi'(rho_13) = sqrt(0.2 / 0.45) = 2 / 3.
  const double entry = (2.0 / 3) / (6 * std::sqrt(20)) * 2;
  const at::Tensor row = at::tensor({entry, entry, -entry, -entry}, at::kDouble);
  EXPECT_LE((penalty.gradients[0][0].view({4}) - row).abs().max().item<double>(), 1e-15);
}

TEST(CovTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(1e-2, FormulaNetwork()), reference::kCov, false);
  ExpectReference(*Make(1e-2, FormulaNetwork()), reference::kCovMasked, true);
  ExpectReference(*Make(0.3, FormulaNetwork()), reference::kCovWideDelta, false);
  ExpectReference(*Make(0.3, FormulaNetwork()), reference::kCovWideDeltaMasked, true);
}

TEST(CovTest, ClosedFormIsAutograd) {
  ExpectClosedFormIsAutograd(*Make(1e-2, FormulaNetwork()), *Make(1e-2, ResNet56()));
}

TEST(CovTest, DefaultDeltaIsOneHundredth) {
  ExpectReference(**CreateRegularizer(Cov(), FormulaNetwork()), reference::kCov, false);
}

TEST(CovTest, SelectionLeavesLayersOut) {
  Cov parameters;
  parameters.mutable_layers()->set_include("b");
  const std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, false);
  const std::unique_ptr<Regularizer> only_b = *CreateRegularizer(parameters, FormulaNetwork());
  const Penalty penalty = only_b->ValueAndGradients(layers);
  EXPECT_TRUE(penalty.gradients[1].defined());
  for (const size_t i : {0, 2, 3}) EXPECT_FALSE(penalty.gradients[i].defined());
  EXPECT_NEAR(penalty.gradients[1].norm().item<double>(), reference::kCov.norm[1], 1e-12);
}

TEST(CovTest, FreshResNet56) {
  // 55 layers of nearly orthogonal filters: about 2.4, whatever the seed.
  const double value = Make(1e-2, ResNet56())->ValueAndGradients(ResNet56Layers(at::kFloat)).value.item<double>();
  EXPECT_GT(value, 2.2);
  EXPECT_LT(value, 2.6);
}

}  // namespace
}  // namespace prunelab
