#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/regularizers/batch_norm_l1.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

RegularizedLayer Norm(const std::string& node, const at::Tensor& gamma) {
  RegularizedLayer layer = ConvLayer(node, gamma);
  layer.kind = RegularizedLayer::Kind::kBatchNorm;
  return layer;
}

TEST(BatchNormL1Test, ByHand) {
  // |0.5| + |-2| + |0| = 2.5; the signs, and 0 at 0. The convolution is left alone.
  const std::vector<RegularizedLayer> layers = {ConvLayer("conv1", FormulaWeight({2, 1, 3, 3}, 0)),
                                                Norm("bn1", at::tensor({0.5, -2.0, 0.0}, at::kDouble))};
  const std::unique_ptr<Regularizer> l1 = *CreateRegularizer(BatchNormL1(), ResNet56());
  const Penalty penalty = l1->ValueAndGradients(layers);
  EXPECT_EQ(penalty.value.item<double>(), 2.5);
  EXPECT_FALSE(penalty.gradients[0].defined());
  EXPECT_TRUE(at::equal(penalty.gradients[1], at::tensor({1.0, -1.0, 0.0}, at::kDouble)));
}

TEST(BatchNormL1Test, ValuesOfNumpyAndPyTorch) {
  const at::Tensor gamma = FormulaWeight({7}, 4);
  const Penalty penalty =
      (*CreateRegularizer(BatchNormL1(), ResNet56()))->ValueAndGradients({Norm("layer1.0.bn2", gamma)});
  EXPECT_NEAR(penalty.value.item<double>(), reference::kBatchNormL1.value, 1e-14);
  const at::Tensor direction = FormulaDirection(gamma, 4);
  EXPECT_NEAR((penalty.gradients[0] * direction).sum().item<double>(), reference::kBatchNormL1.projection, 1e-13);
  EXPECT_NEAR(penalty.gradients[0].norm().item<double>(), reference::kBatchNormL1.norm, 1e-13);
}

TEST(BatchNormL1Test, ChoosesAmongNormalizations) {
  BatchNormL1 parameters;
  parameters.mutable_layers()->set_exclude("*downsample*");
  const std::unique_ptr<Regularizer> l1 = *CreateRegularizer(parameters, ResNet56());
  const at::Tensor gamma = at::ones({4}, at::kDouble);
  EXPECT_EQ(l1->Value({Norm("bn1", gamma), Norm("layer2.0.downsample.1", gamma)}).item<double>(), 4);
  const auto refused = CreateRegularizer(BatchNormL1(), FormulaNetwork());
  EXPECT_EQ(ErrorField(refused.status()), "layers") << refused.status();
}

}  // namespace
}  // namespace prunelab
