#include "ml/regularizers/paper_zero.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/reference_values.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> MakePaperZero() { return *CreatePaperZero(PaperZero(), ExampleNetwork()); }

void ExpectExactlyNothing(const std::vector<RegularizedLayer>& layers) {
  const Penalty penalty = MakePaperZero()->ValueAndGradients(layers);
  EXPECT_FALSE(penalty.value.defined());
  ASSERT_EQ(penalty.gradients.size(), layers.size());
  for (const at::Tensor& gradient : penalty.gradients) EXPECT_FALSE(gradient.defined());
}

TEST(PaperZeroTest, IsExactlyNothingOnThePapersNetwork) { ExpectExactlyNothing(ResNet56Layers(777)); }

TEST(PaperZeroTest, IsExactlyNothingOnUsualKernels) {
  for (const int64_t k : {1, 3, 5, 7}) ExpectExactlyNothing(OneLayer(FormulaTensor({4, 2, k, k}, 1)));
}

// The slice [[1, 3], [2, -2]] of kernel_cov_test.cc gives 14; its mask is not looked at, as in the original.
TEST(PaperZeroTest, KernelsOfTwoRowsHaveAValueWithoutGradient) {
  std::vector<RegularizedLayer> layers =
      OneLayer(at::tensor({1, 3, 2, -2, 5, 5, 2, 2}, at::kDouble).view({2, 1, 2, 2}).requires_grad_());
  layers[0].mask = at::zeros({2, 1, 1, 1}, at::kDouble);
  const Penalty penalty = MakePaperZero()->ValueAndGradients(layers);
  EXPECT_EQ(penalty.value.item<double>(), 14);
  EXPECT_FALSE(penalty.gradients[0].defined());
  EXPECT_FALSE(MakePaperZero()->Value(layers).requires_grad());
}

TEST(PaperZeroTest, EqualsReferenceValue) {
  const Penalty penalty = MakePaperZero()->ValueAndGradients(OneLayer(FormulaTensor({3, 2, 2, 4}, 7)));
  EXPECT_NEAR(penalty.value.item<double>(), kReferencePaperZero, 1e-13);
}

}  // namespace
}  // namespace prunelab
