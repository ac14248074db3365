#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
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
}

}  // namespace
}  // namespace prunelab
