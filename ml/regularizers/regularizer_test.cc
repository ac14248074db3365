#include "ml/regularizers/regularizer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "google/protobuf/any.pb.h"
#include "ml/regularizers/example_layers.h"
#include "ml/regularizers/none.pb.h"

namespace prunelab {
namespace {

// Half the sum of squares of the convolutions' weights, plain LibTorch: the gradient is the weight.
class WeightDecay : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    at::Tensor value;
    for (const RegularizedLayer& layer : layers) {
      if (layer.kind != RegularizedLayer::Kind::kConv) continue;
      const at::Tensor term = layer.weight.square().sum() / 2;
      value = value.defined() ? value + term : term;
    }
    return value;
  }
};

TEST(RegularizerTest, DefaultGradientIsAutogradsOfValue) {
  const std::vector<RegularizedLayer> layers = ExampleLayers();
  const at::NoGradGuard no_gradients;  // a training loop may be in one
  const Penalty penalty = WeightDecay().ValueAndGradients(layers);
  double expected = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (layers[i].kind != RegularizedLayer::Kind::kConv) {
      EXPECT_FALSE(penalty.gradients[i].defined()) << "not part of the value: " << layers[i].node;
      continue;
    }
    EXPECT_TRUE(at::equal(penalty.gradients[i], layers[i].weight)) << layers[i].node;
    EXPECT_FALSE(penalty.gradients[i].requires_grad());
    expected += layers[i].weight.square().sum().item<double>() / 2;
  }
  EXPECT_NEAR(penalty.value.item<double>(), expected, 1e-12 * expected);
  EXPECT_FALSE(penalty.value.requires_grad());
}

TEST(RegularizerTest, TheLayersStayOutOfTheGraph) {
  std::vector<RegularizedLayer> layers = ExampleLayers();
  for (RegularizedLayer& layer : layers) layer.weight.requires_grad_();
  const Penalty penalty = WeightDecay().ValueAndGradients(layers);
  EXPECT_TRUE(penalty.gradients[0].defined());
  for (const RegularizedLayer& layer : layers) EXPECT_FALSE(layer.weight.grad().defined()) << layer.node;
}

TEST(RegularizerTest, MakesWhatIsLinked) {
  google::protobuf::Any parameters;
  parameters.PackFrom(NoRegularizer());
  const auto regularizer = CreateRegularizer(parameters, ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  EXPECT_FALSE((*regularizer)->reaches_dead_filters());
}

TEST(RegularizerTest, WhatIsNotLinkedIsNamedWithItsTarget) {
  google::protobuf::Any parameters;
  parameters.set_type_url("type.googleapis.com/prunelab.SpectralNorm");
  const absl::Status status = CreateRegularizer(parameters, ExampleNetwork()).status();
  ASSERT_FALSE(status.ok());
  const std::string message(status.message());
  EXPECT_NE(message.find("prunelab.SpectralNorm"), std::string::npos) << message;
  EXPECT_NE(message.find("NoRegularizer"), std::string::npos) << message;
  EXPECT_NE(message.find("//ml/regularizers:spectral_norm_registration"), std::string::npos) << message;
}

}  // namespace
}  // namespace prunelab
