#include "ml/regularizers/zhu_decorrelation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>

#include "ml/regularizers/correlation.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"
#include "ml/regularizers/zhu_decorrelation.pb.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(double group_lasso_weight) {
  ZhuDecorrelation parameters;
  parameters.set_group_lasso_weight(group_lasso_weight);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(ZhuDecorrelationTest, ByHand) {
  // The filters of squared_correlation's case: rho^2 = 0, 1/5, 4/5, so |P - I|_F = sqrt(2 * 1) and R = sqrt(2) / 3.
  // With S the sum of squares over ordered pairs, R = sqrt(S) / 3 and squared_correlation = S / 6, whose gradient is
  // the one below over 15; dR = dS / (6 sqrt(S)) = 6 / (6 sqrt(2)) of it.
  const at::Tensor weight =
      at::tensor({6.0, 4.0, 6.0, 4.0, 1.0, 1.0, -1.0, -1.0, 5.0, 3.0, 1.0, -1.0}, at::kDouble).view({3, 1, 2, 2});
  const at::Tensor gradient =
      at::tensor({1.0, 1.0, -1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0}, at::kDouble).view({3, 1, 2, 2}) / 15;
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  const Penalty penalty = Make(0)->ValueAndGradients(layers);
  EXPECT_NEAR(penalty.value.item<double>(), std::sqrt(2) / 3, 1e-15);
  EXPECT_LE((penalty.gradients[0] - gradient / std::sqrt(2)).abs().max().item<double>(), 1e-15);
  // Norms of the filters: sqrt(104), 2, 6; of the only input channel: sqrt(104 + 4 + 36) = 12.
  EXPECT_NEAR(Make(0.1)->Value(layers).item<double>(), std::sqrt(2) / 3 + 0.05 * (std::sqrt(104) + 20), 1e-14);
}

TEST(ZhuDecorrelationTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(0), reference::kZhuDecorrelation, false);
  ExpectReference(*Make(0), reference::kZhuDecorrelationMasked, true);
  ExpectReference(*Make(0.25), reference::kZhuDecorrelationWithGroupLasso, false);
  ExpectReference(*Make(0.25), reference::kZhuDecorrelationWithGroupLassoMasked, true);
}

// What a GPU computes instead, here on the CPU: the same value and gradient, of single layers.
TEST(ZhuDecorrelationTest, TheTermOnADeviceIsTheSame) {
  for (const bool masked : {false, true}) {
    for (RegularizedLayer& layer : FormulaLayers(at::kDouble, masked)) {
      if (layer.kind != RegularizedLayer::Kind::kConv || !HasSpatialKernel(layer)) continue;
      // One filter has no direction; in a layer of its own there is no pair.
      layer.weight.select(0, 0).zero_();
      for (const int64_t filters : {layer.weight.size(0), int64_t{1}}) {
        RegularizedLayer part = layer;
        part.weight = layer.weight.slice(0, 0, filters).clone().requires_grad_();
        if (part.mask.defined()) part.mask = layer.mask.slice(0, 0, filters);
        ZhuDecorrelation parameters;
        parameters.set_group_lasso_weight(0);
        const at::Tensor on_host = (*CreateRegularizer(parameters, FormulaNetwork()))->Value({part});
        const at::Tensor on_device = ZhuTermOnDevice(part);
        const at::Tensor of_host = torch::autograd::grad({on_host}, {part.weight}, {}, false, false, true)[0];
        const at::Tensor of_device = torch::autograd::grad({on_device}, {part.weight})[0];
        EXPECT_NEAR(on_device.item<double>(), on_host.item<double>(), 1e-12) << layer.node;
        EXPECT_TRUE(of_device.isfinite().all().item<bool>());
        if (of_host.defined()) EXPECT_LE((of_device - of_host).abs().max().item<double>(), 1e-11) << layer.node;
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
