#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "ml/models/resnet_cifar.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/sparse_group_norm.pb.h"
#include "ml/regularizers/testing/sparse_group_norm_values.h"

namespace prunelab {
namespace {

NetworkInfo SmallResNet() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_width(4);
  return *NetworkInfo::Create(*CreateResNetCifar(parameters, {}));
}

// Every parameter's k-th number is sin(0.7 k + 0.3 * the length of its name), as in the generator of the values.
std::vector<RegularizedLayer> Filled(const NetworkInfo& network) {
  std::vector<RegularizedLayer> layers;
  for (const ParameterSpec& parameter : network.parameters()) {
    if (parameter.is_buffer || !absl::EndsWith(parameter.name, ".weight")) continue;
    RegularizedLayer layer;
    layer.node = parameter.node;
    const Node& node = network.node(network.Index(parameter.node));
    layer.kind = node.has_conv2d()   ? RegularizedLayer::Kind::kConv
                 : node.has_linear() ? RegularizedLayer::Kind::kLinear
                                     : RegularizedLayer::Kind::kBatchNorm;
    int64_t numbers = 1;
    for (const int64_t size : parameter.shape) numbers *= size;
    layer.weight = at::arange(numbers, at::kDouble)
                       .mul(0.7)
                       .add(0.3 * static_cast<double>(parameter.name.size()))
                       .sin()
                       .view(parameter.shape);
    layers.push_back(layer);
  }
  return layers;
}

Penalty Of(double alpha, const NetworkInfo& network, const std::vector<RegularizedLayer>& layers) {
  SparseGroupNorm parameters;
  parameters.set_alpha(alpha);
  return (*CreateRegularizer(parameters, network))->ValueAndGradients(layers);
}

TEST(SparseGroupNormTest, GradientsOfTorchPruning) {
  const NetworkInfo network = SmallResNet();
  const std::vector<RegularizedLayer> layers = Filled(network);
  const Penalty penalty = Of(4, network, layers);
  std::map<std::string, at::Tensor> gradients;
  for (size_t i = 0; i < layers.size(); ++i) gradients[layers[i].node + ".weight"] = penalty.gradients[i];
  EXPECT_EQ(gradients.size(), SparseGroupNormGradients().size());
  for (const SparseGroupNormGradient& expected : SparseGroupNormGradients()) {
    ASSERT_TRUE(gradients[expected.parameter].defined()) << expected.parameter;
    const at::Tensor gradient = gradients[expected.parameter].flatten();
    const at::Tensor direction = at::arange(gradient.numel(), at::kDouble).mul(0.3).cos();
    EXPECT_NEAR(gradient.norm().item<double>(), expected.norm, 1e-10 * expected.norm) << expected.parameter;
    EXPECT_NEAR((gradient * direction).sum().item<double>(), expected.projection, 1e-10 * expected.norm)
        << expected.parameter;
  }
}

// With all groups alike, each weight counts once for each group that it is in: most are filters of one and readers of
// another.
TEST(SparseGroupNormTest, WithoutAlphaTheGradientIsTheWeightForEachOfItsGroups) {
  const NetworkInfo network = SmallResNet();
  const std::vector<RegularizedLayer> layers = Filled(network);
  const Penalty penalty = Of(0, network, layers);
  double value = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    // The images' channels and the logits are in no group.
    const bool once =
        layers[i].node == "conv1" || layers[i].node == "fc" || layers[i].kind == RegularizedLayer::Kind::kBatchNorm;
    const double groups = once ? 1 : 2;
    EXPECT_TRUE(at::allclose(penalty.gradients[i], layers[i].weight * groups, 1e-12, 1e-12)) << layers[i].node;
    value += groups * layers[i].weight.square().sum().item<double>() / 2;
  }
  EXPECT_NEAR(penalty.value.item<double>(), value, 1e-10 * value);
}

TEST(SparseGroupNormTest, EquallyStrongGroupsHaveNoFactor) {
  const NetworkInfo network = SmallResNet();
  std::vector<RegularizedLayer> layers = Filled(network);
  for (RegularizedLayer& layer : layers) layer.weight = at::ones_like(layer.weight);
  const Penalty with = Of(4, network, layers), without = Of(0, network, layers);
  EXPECT_EQ(with.value.item<double>(), without.value.item<double>());
}

}  // namespace
}  // namespace prunelab
