#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <set>
#include <string>

#include "ml/regularizers/decov.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(const std::string& include, Decov::Spatial spatial) {
  Decov parameters;
  parameters.mutable_nodes()->set_include(include);
  parameters.set_spatial(spatial);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(DecovTest, ByHand) {
  // Two images, two features: (1, 2) and (3, 0), centred (-1, 1) and (1, -1), so C = ((1, -1), (-1, 1)) and the penalty
  // is 1/2 * 2. It is C_12^2 with C_12 = 1/2 sum a_n b_n, so the gradient in a_n is C_12 b_n and in b_n C_12 a_n.
  const at::Tensor features = at::tensor({1.0, 2.0, 3.0, 0.0}, at::kDouble).view({2, 2}).requires_grad_();
  const std::unique_ptr<Regularizer> decov = *CreateRegularizer(Decov(), FormulaNetwork());
  EXPECT_EQ(decov->activation_nodes(), std::set<std::string>{"flat"});
  EXPECT_FALSE(decov->Value(FormulaLayers(at::kDouble, false)).defined());
  const at::Tensor value = decov->ActivationValue({{"flat", features}});
  EXPECT_EQ(value.item<double>(), 1);
  const at::Tensor gradient = torch::autograd::grad({value}, {features})[0];
  EXPECT_TRUE(at::equal(gradient, at::tensor({-1.0, 1.0, 1.0, -1.0}, at::kDouble).view({2, 2})));
}

TEST(DecovTest, MapsByMeansOrByPixels) {
  // The same numbers as two pixels of one image with two channels.
  const at::Tensor maps = at::tensor({1.0, 3.0, 2.0, 0.0}, at::kDouble).view({1, 2, 1, 2});
  EXPECT_EQ(Make("b", Decov::PIXELS)->ActivationValue({{"b", maps}}).item<double>(), 1);
  EXPECT_EQ(Make("b", Decov::CHANNEL_MEANS)->ActivationValue({{"b", maps}}).item<double>(), 0);  // one observation
  EXPECT_EQ(Make("b,c", Decov::PIXELS)->activation_nodes(), (std::set<std::string>{"b", "c"}));
}

void ExpectValues(const Regularizer& decov, const std::string& node, const std::vector<int64_t>& shape,
                  const reference::OneTensorValues& expected) {
  const at::Tensor activation = FormulaWeight(shape, 5).requires_grad_();
  const at::Tensor value = decov.ActivationValue({{node, activation}});
  EXPECT_NEAR(value.item<double>(), expected.value, 1e-12 * expected.value);
  const at::Tensor gradient = torch::autograd::grad({value}, {activation})[0];
  EXPECT_NEAR((gradient * FormulaDirection(activation, 5)).sum().item<double>(), expected.projection, 1e-13);
  EXPECT_NEAR(gradient.norm().item<double>(), expected.norm, 1e-12 * expected.norm);
}

TEST(DecovTest, ValuesOfNumpyAndPyTorch) {
  ExpectValues(*Make("flat", Decov::CHANNEL_MEANS), "flat", {6, 5}, reference::kDecovFeatures);
  ExpectValues(*Make("b", Decov::CHANNEL_MEANS), "b", {4, 3, 2, 5}, reference::kDecovChannelMeans);
  ExpectValues(*Make("b", Decov::PIXELS), "b", {4, 3, 2, 5}, reference::kDecovPixels);
}

}  // namespace
}  // namespace prunelab
