#include "ml/regularizers/squared_correlation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/reference_check.h"

namespace prunelab {
namespace {

// The filters of cov_test.cc: rho_12 = 1/2, rho_13 = 0, rho_23 = -1/2, so R = (1/4 + 0 + 1/4) / 3 = 1/6. phi'(1/2) = 1
// where cov_test.cc has 0.8, and phi' is odd in both, so the gradients are 1.25 times those there: (1, 1, -2, 0) / 12
// and so on.
TEST(SquaredCorrelationTest, HandComputedCase) {
  const auto regularizer = CreateSquaredCorrelation(SquaredCorrelation(), ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  const at::Tensor weight =
      at::tensor({1.5, -0.5, 0.5, 0.5, 0.0, -1.0, -2.0, -1.0, 0.25, 0.25, 1.25, -0.75}, at::kDouble).view({3, 1, 2, 2});
  const Penalty penalty = (*regularizer)->ValueAndGradients(OneLayer(weight));
  EXPECT_NEAR(penalty.value.item<double>(), 1.0 / 6, 1e-15);
  const at::Tensor expected =
      at::tensor({1, 1, -2, 0, 0, -2, 0, 2, -2, 0, 1, 1}, at::kDouble).div_(12).view({3, 1, 2, 2});
  EXPECT_LE((penalty.gradients[0] - expected).abs().max().item<double>(), 1e-15);
}

TEST(SquaredCorrelationTest, EqualsReferenceValues) {
  ExpectReferenceCases<SquaredCorrelation>(CreateSquaredCorrelation);
}

}  // namespace
}  // namespace prunelab
