#include "ml/regularizers/orthoreg.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(Orthoreg::Correlations correlations, Orthoreg::Scale scale, double lambda = 10) {
  Orthoreg parameters;
  parameters.set_correlations(correlations);
  parameters.set_scale(scale);
  parameters.set_lambda(lambda);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(OrthoregTest, ByHand) {
  // Filters (1, 0) and (3, 4): cos = 0.6, two ordered pairs. ALL: 2 * 0.36. POSITIVE: 2 log(1 + exp(10 (0.6 - 1))).
  // The gradient of cos is (u_2 - cos u_1) / |w_1| = (0, 0.8) in the first filter and (u_1 - cos u_2) / |w_2| =
  // ((1, 0) - 0.6 (0.6, 0.8)) / 5 = (0.128, -0.096) in the second; times 2 * 2 cos = 2.4, or 2 * 10 sigmoid(-4).
  const at::Tensor weight = at::tensor({1.0, 0.0, 3.0, 4.0}, at::kDouble).view({2, 1, 1, 2});
  const at::Tensor of_cosine = at::tensor({0.0, 0.8, 0.128, -0.096}, at::kDouble).view({2, 1, 1, 2});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  const Penalty all = Make(Orthoreg::ALL, Orthoreg::SUM)->ValueAndGradients(layers);
  EXPECT_NEAR(all.value.item<double>(), 0.72, 1e-15);
  EXPECT_LE((all.gradients[0] - 2.4 * of_cosine).abs().max().item<double>(), 1e-15);
  const Penalty positive = Make(Orthoreg::POSITIVE, Orthoreg::SUM)->ValueAndGradients(layers);
  EXPECT_NEAR(positive.value.item<double>(), 2 * std::log1p(std::exp(-4.0)), 1e-15);
  EXPECT_LE((positive.gradients[0] - 20 / (1 + std::exp(4.0)) * of_cosine).abs().max().item<double>(), 1e-15);
  EXPECT_NEAR(Make(Orthoreg::ALL, Orthoreg::MEAN)->Value(layers).item<double>(), 0.36, 1e-15);
}

TEST(OrthoregTest, OppositeFiltersAreLeftAlone) {
  const at::Tensor weight = at::tensor({1.0, 0.0, -3.0, -4.0}, at::kDouble).view({2, 1, 1, 2});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  EXPECT_LT(Make(Orthoreg::POSITIVE, Orthoreg::SUM)->Value(layers).item<double>(), 1e-6);
  EXPECT_NEAR(Make(Orthoreg::ALL, Orthoreg::SUM)->Value(layers).item<double>(), 0.72, 1e-15);
}

TEST(OrthoregTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(Orthoreg::POSITIVE, Orthoreg::SUM), reference::kOrthoreg, false);
  ExpectReference(*Make(Orthoreg::POSITIVE, Orthoreg::SUM), reference::kOrthoregMasked, true);
  ExpectReference(*Make(Orthoreg::POSITIVE, Orthoreg::MEAN, 3), reference::kOrthoregWideMean, false);
  ExpectReference(*Make(Orthoreg::POSITIVE, Orthoreg::MEAN, 3), reference::kOrthoregWideMeanMasked, true);
  ExpectReference(*Make(Orthoreg::ALL, Orthoreg::SUM), reference::kOrthoregAll, false);
  ExpectReference(*Make(Orthoreg::ALL, Orthoreg::SUM), reference::kOrthoregAllMasked, true);
}

// What a GPU computes instead, here on the CPU: the same value and gradient, of single layers.
TEST(OrthoregTest, TheTermOnADeviceIsTheSame) {
  for (const bool masked : {false, true}) {
    for (RegularizedLayer& layer : FormulaLayers(at::kDouble, masked)) {
      if (layer.kind != RegularizedLayer::Kind::kConv) continue;
      // One filter has no direction; in a layer of its own there is no pair.
      layer.weight.select(0, 0).zero_();
      for (const int64_t filters : {layer.weight.size(0), int64_t{1}}) {
        RegularizedLayer part = layer;
        part.weight = layer.weight.slice(0, 0, filters).clone().requires_grad_();
        if (part.mask.defined()) part.mask = layer.mask.slice(0, 0, filters);
        for (const Orthoreg::Scale scale : {Orthoreg::SUM, Orthoreg::MEAN}) {
          Orthoreg parameters;
          parameters.set_scale(scale);
          const at::Tensor on_host = Make(Orthoreg::POSITIVE, scale)->Value({part});
          const at::Tensor on_device = OrthoregTermOnDevice(parameters, part);
          const at::Tensor of_host = torch::autograd::grad({on_host}, {part.weight}, {}, false, false, true)[0];
          const at::Tensor of_device = torch::autograd::grad({on_device}, {part.weight})[0];
          EXPECT_NEAR(on_device.item<double>(), on_host.item<double>(), 1e-12) << layer.node;
          EXPECT_TRUE(of_device.isfinite().all().item<bool>());
          if (of_host.defined()) EXPECT_LE((of_device - of_host).abs().max().item<double>(), 1e-11) << layer.node;
        }
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
