#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"
#include "ml/network/readers.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/taylor.pb.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Taylor& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return CreatePruningStrategy(parameters, {&network, 1});
}

// Two prunings of nine filters, each after two steps.
TEST(TaylorTest, AveragesAndMasksAreTheReferences) {
  for (const Taylor::Form form : {Taylor::GATE, Taylor::WEIGHTS}) {
    Taylor parameters;
    parameters.set_period(2);
    parameters.set_filters_per_update(9);
    parameters.set_form(form);
    const auto strategy = *Create(parameters);
    std::vector<std::string> masks;
    std::map<std::string, at::Tensor> in_force;
    for (int64_t step = 0; step <= 4; ++step) {
      std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter, step);
      if (!in_force.empty()) SetMasks(in_force, layers);
      const auto update = *strategy->Update({0, step, 10, 4}, layers);
      EXPECT_EQ(update.has_value(), step == 2 || step == 4) << step;
      if (update) {
        in_force = update->masks;
        masks.push_back(FilterBits(in_force));
        EXPECT_EQ(update->weights, MaskUpdate::Weights::kZeroMasked);
        EXPECT_EQ(update->momentum, MaskUpdate::Momentum::kZeroMasked);
      }
      if (step < 4) strategy->Observe({0, step, 10, 4}, layers);
    }
    if (form == Taylor::GATE) EXPECT_EQ(masks, (std::vector<std::string>{kTaylorFirstMasks, kTaylorSecondMasks}));
    const StrategyState state = strategy->SaveState();
    const double* expected = form == Taylor::GATE ? kTaylorAverages : kTaylorAveragesOfWeights;
    for (const PrunableLayer& layer : ReferenceLayers(Granularity::kFilter)) {
      const at::Tensor average = state.tensors.at("average/" + layer.node);
      for (int64_t i = 0; i < average.size(0); ++i) {
        EXPECT_NEAR(average[i].item<double>(), *expected, 1e-6 * *expected) << layer.node;
        ++expected;
      }
    }
  }
}

// One filter whose terms cancel: the gate changes nothing, its weights do.
TEST(TaylorTest, TheGateSumsBeforeItSquares) {
  for (const Taylor::Form form : {Taylor::GATE, Taylor::WEIGHTS}) {
    Taylor parameters;
    parameters.set_form(form);
    parameters.mutable_layers()->set_include("block.downsample");
    const auto strategy = *Create(parameters);
    std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
    layers[3].weight.fill_(2);
    layers[3].gradient.copy_(at::tensor({1.0f, -1.0f}).repeat({32}).view({8, 8, 1, 1}));
    strategy->Observe({0, 0, 10, 4}, layers);
    const at::Tensor sum = strategy->SaveState().tensors.at("sum/block.downsample");
    EXPECT_TRUE(sum.eq(form == Taylor::GATE ? 0 : 32).all().item<bool>()) << sum;
  }
}

// The example's convolutions, two of them with a batch norm of their own.
NetworkInfo WithBatchNorms() {
  NetworkWriter net;
  const std::string stem = net.BatchNorm("bn", net.Conv("stem", net.Image(3, 8, 8), {8, 3, 1, 1}));
  const std::string inner = net.BatchNorm("block.bn", net.Conv("block.conv1", stem, {12, 3, 1, 1}));
  const std::string path = net.Conv("block.conv2", inner, {8, 3, 1, 1});
  net.Classifier("fc", net.Add("sum", {path, net.Conv("block.downsample", stem, {8, 1})}), 4);
  return *NetworkInfo::Create(net.Take());
}

// With a batch norm's scale, shift and gradients; a convolution that a batch norm does not read alone has its own gate.
TEST(TaylorTest, AGateAfterTheBatchNormHasItsScaleAndShift) {
  Taylor parameters;
  parameters.set_form(Taylor::BATCH_NORM_GATE);
  const NetworkInfo network = WithBatchNorms();
  const auto strategy = *CreatePruningStrategy(parameters, {&network, 1});
  EXPECT_TRUE(strategy->needs_batch_norms() && strategy->needs_gradients() && strategy->needs_probe());
  parameters.set_form(Taylor::GATE);
  const auto before_it = *Create(parameters);
  EXPECT_FALSE(before_it->needs_batch_norms() || before_it->needs_probe());
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  std::map<std::string, at::Tensor> expected;
  for (size_t i = 0; i < layers.size(); ++i) {
    if (OwnBatchNorm(network, layers[i].node).empty()) continue;
    const auto values = [&](double phase) {
      return at::arange(layers[i].weight.size(0), at::kFloat).mul(1.3).add(phase + static_cast<double>(i)).sin();
    };
    layers[i].batch_norm = {values(0.1), values(0.2), values(0.3), values(0.4)};
    at::Tensor& sum = expected[layers[i].node];
    sum = at::empty({layers[i].weight.size(0), 1, 1, 1}, at::kDouble);
    for (int64_t k = 0; k < sum.size(0); ++k) {
      const auto at_k = [&](const at::Tensor& tensor) { return tensor[k].item<double>(); };
      const PrunableBatchNorm& of = *layers[i].batch_norm;
      sum[k] = std::pow(at_k(of.scale) * at_k(of.scale_gradient) + at_k(of.shift) * at_k(of.shift_gradient), 2);
    }
  }
  ASSERT_EQ(expected.size(), 2U);
  strategy->Observe({0, 0, 10, 4}, layers);
  before_it->Observe({0, 0, 10, 4}, layers);
  const StrategyState state = strategy->SaveState(), state_before_it = before_it->SaveState();
  for (const PrunableLayer& layer : layers) {
    const std::string name = "sum/" + layer.node;
    const auto found = expected.find(layer.node);
    const at::Tensor sum = found != expected.end() ? found->second : state_before_it.tensors.at(name);
    EXPECT_TRUE(at::allclose(state.tensors.at(name), sum, 1e-12, 0)) << layer.node;
  }
}

TEST(TaylorTest, LeftToItselfItReachesTheRateAtHalfOfTheRun) {
  Taylor parameters;
  parameters.set_rate(0.5);
  parameters.set_period(5);
  const auto strategy = *Create(parameters);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  std::vector<int64_t> masked;
  for (int64_t step = 0; step < 40; ++step) {
    const auto update = *strategy->Update({step / 10, step % 10, 10, 4}, layers);
    if (update) {
      SetMasks(update->masks, layers);
      masked.push_back(MaskedCount(update->masks));
    }
    strategy->Observe({step / 10, step % 10, 10, 4}, layers);
  }
  EXPECT_EQ(masked, (std::vector<int64_t>{5, 10, 15, 19}));  // before steps 5, 10, 15, 20; int(36 * 0.5) + 1
}

// As after a phase of weight pruning.
TEST(TaylorTest, WeightMasksInForceCountByFilter) {
  Taylor parameters;
  parameters.set_rate(0.5);
  parameters.set_period(2);
  parameters.set_filters_per_update(9);
  const auto strategy = *Create(parameters);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  for (PrunableLayer& layer : layers) layer.mask.select(1, 0).zero_();  // some weights of each filter
  layers[0].mask[5].zero_();
  for (int64_t step = 0; step < 2; ++step) strategy->Observe({0, step, 10, 4}, layers);
  const auto update = *strategy->Update({0, 2, 10, 4}, layers);
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(MaskedCount(update->masks), 1 + 9);
  for (const PrunableLayer& layer : layers) {
    EXPECT_EQ(update->masks.at(layer.node).numel(), layer.weight.size(0)) << layer.node;
  }
  EXPECT_EQ(update->masks.at("stem")[5].sum().item<double>(), 0) << "off already";
}

TEST(TaylorTest, RefusesBadNumbers) {
  Taylor parameters;
  parameters.set_filters_per_update(-1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "filters_per_update");
  parameters.set_filters_per_update(1);
  parameters.set_momentum(1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "momentum");
  EXPECT_FALSE((*Create(Taylor()))->LoadState({}).ok());
  parameters.set_momentum(0.9);
  parameters.set_form(Taylor::BATCH_NORM_GATE);
  parameters.mutable_layers()->set_include("block.downsample");
  EXPECT_EQ(ErrorField(Create(parameters).status()), "form") << "no batch norm reads it alone";
}

}  // namespace
}  // namespace prunelab
