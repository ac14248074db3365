#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/pruning/movement.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<PruningStrategy> Create(const Movement& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

TEST(MovementTest, ScoresAndMasksAreTheReferences) {
  for (const WeightMaskReference& reference : kMovementMasks) {
    Movement parameters;
    parameters.set_rate(reference.rate);
    const auto strategy = Create(parameters);
    EXPECT_TRUE(strategy->needs_gradients());
    EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
    const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
    // Nothing is known before the first step.
    EXPECT_FALSE((*strategy->Update({0, 0, 10, 4}, layers)).has_value());
    for (int64_t step = 0; step < 3; ++step) {
      strategy->Observe({0, step, 10, 4}, ReferenceLayers(Granularity::kWeight, step));
    }
    const StrategyState state = strategy->SaveState();
    for (size_t i = 0; i < layers.size(); ++i) {
      EXPECT_NEAR(state.tensors.at("score/" + layers[i].node).sum(at::kDouble).item<double>(), kMovementScoreSums[i],
                  1e-4);
    }
    const at::Tensor scores = state.tensors.at("score/block.downsample").view({-1});
    for (int64_t i = 0; i < 64; ++i) EXPECT_NEAR(scores[i].item<double>(), kMovementScoresOfShortcut[i], 1e-6) << i;
    const auto update = *strategy->Update({2, 0, 10, 4}, layers);  // the end
    EXPECT_EQ(WeightMaskDigest(update->masks), reference.sha256) << reference.rate;
  }
}

// Small weights that grow stay; large ones that shrink go, and return when they grow again though masked.
TEST(MovementTest, WeightsThatMoveTowardsZeroGo) {
  Movement parameters;
  parameters.set_rate(0.5);
  parameters.set_end_epoch(1);
  parameters.mutable_layers()->set_include("block.downsample");
  const auto strategy = Create(parameters);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  const at::Tensor weight = layers[3].weight.view({-1}), gradient = layers[3].gradient.view({-1});
  weight.fill_(0.1);
  weight.slice(0, 32).fill_(-5);
  gradient.fill_(-1);  // descent adds: the small grow, the large and negative shrink
  strategy->Observe({0, 0, 10, 4}, layers);
  at::Tensor mask = (*strategy->Update({1, 0, 10, 4}, layers))->masks.at("block.downsample").view({-1});
  EXPECT_EQ(mask.slice(0, 32).sum().item<float>(), 0);
  EXPECT_EQ(mask.sum().item<float>(), 31);  // int(64 * 0.5) + 1 are masked, the last of them by its index
  gradient.slice(0, 32).fill_(3);
  strategy->Observe({1, 0, 10, 4}, layers);
  mask = (*strategy->Update({1, 1, 10, 4}, layers))->masks.at("block.downsample").view({-1});
  EXPECT_EQ(mask.slice(0, 32).sum().item<float>(), 31);
}

TEST(MovementTest, RefusesAStateOfOtherLayers) {
  StrategyState state;
  state.tensors["score/stem"] = at::zeros({8, 3, 3, 3});
  EXPECT_FALSE(Create(Movement())->LoadState(state).ok());
}

}  // namespace
}  // namespace prunelab
