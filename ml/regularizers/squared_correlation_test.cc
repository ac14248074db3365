#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/squared_correlation.pb.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(bool pointwise, const NetworkInfo& network) {
  SquaredCorrelation parameters;
  parameters.set_include_pointwise(pointwise);
  return *CreateRegularizer(parameters, network);
}

TEST(SquaredCorrelationTest, ByHand) {
  // Centred filters (1, -1, 1, -1), (1, 1, -1, -1), (3, 1, -1, -3): rho^2 = 0, 1/5, 4/5, so R = 2 / (3 * 2) * 1 = 1/3.
  // With unit rows u_1, u_2, u_3 of norms 2, 2, sqrt 20, the gradient of row i is
  // 1/3 * sum_j 2 rho_ij (u_j - rho_ij u_i) / |c_i|:
  //   row 1: 2/(3 sqrt 5) * (u_3 - u_1 / sqrt 5) / 2 = ((3, 1, -1, -3) - (1, -1, 1, -1)) / 30 = (1, 1, -1, -1) / 15
  //   row 2: 4/(3 sqrt 5) * (u_3 - 2 u_2 / sqrt 5) / 2 = ((3, 1, -1, -3) - (2, 2, -2, -2)) / 15 = (1, -1, 1, -1) / 15
  //   row 3: 0, since u_3 lies in the plane of the orthogonal u_1 and u_2, where rho_13^2 + rho_23^2 = 1.
  // Offsets of whole filters change nothing.
  const at::Tensor weight =
      at::tensor({6.0, 4.0, 6.0, 4.0, 1.0, 1.0, -1.0, -1.0, 5.0, 3.0, 1.0, -1.0}, at::kDouble).view({3, 1, 2, 2});
  const at::Tensor gradient =
      at::tensor({1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0}, at::kDouble).view({3, 1, 2, 2}) / 15;
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  const std::unique_ptr<Regularizer> squared = Make(false, FormulaNetwork());
  EXPECT_NEAR(squared->Value(layers).item<double>(), 1.0 / 3, 1e-15);
  const Penalty penalty = squared->ValueAndGradients(layers);
  EXPECT_NEAR(penalty.value.item<double>(), 1.0 / 3, 1e-15);
  EXPECT_LE((penalty.gradients[0] - gradient).abs().max().item<double>(), 1e-15);
}

TEST(SquaredCorrelationTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(false, FormulaNetwork()), reference::kSquaredCorrelation, false);
  ExpectReference(*Make(false, FormulaNetwork()), reference::kSquaredCorrelationMasked, true);
  ExpectReference(*Make(true, FormulaNetwork()), reference::kSquaredCorrelationPointwise, false);
  ExpectReference(*Make(true, FormulaNetwork()), reference::kSquaredCorrelationPointwiseMasked, true);
}

TEST(SquaredCorrelationTest, ClosedFormIsAutograd) {
  ExpectClosedFormIsAutograd(*Make(true, FormulaNetwork()), *Make(false, ResNet56()));
}

}  // namespace
}  // namespace prunelab
