#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/pruning/gradual.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<PruningStrategy> Create(const Gradual& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

TEST(GradualTest, MasksAreTheReferences) {
  for (const WeightMaskReference& reference : kGradualMasks) {
    Gradual parameters;
    parameters.set_rate(reference.rate);
    const auto update = *Create(parameters)->Update({2, 0, 10, 4}, ReferenceLayers(Granularity::kWeight));  // the end
    EXPECT_EQ(WeightMaskDigest(update->masks), reference.sha256) << reference.rate;
  }
}

// At half of the way the rate is 7/8 of the last: of 216 weights int(216 * 0.7) + 1 go, and so in each layer.
TEST(GradualTest, EachLayerHasTheSameRisingRate) {
  Gradual parameters;
  parameters.set_rate(0.8);
  parameters.set_period(10);
  const auto strategy = Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  layers[1].weight.mul_(100);  // counts for nothing
  const auto update = *strategy->Update({1, 0, 10, 4}, layers);
  EXPECT_EQ(update->masks.at("stem").eq(0).sum().item<int64_t>(), 152);
  EXPECT_EQ(update->masks.at("block.conv1").eq(0).sum().item<int64_t>(), 605);
  EXPECT_FALSE((*strategy->Update({1, 1, 10, 4}, layers)).has_value());
  EXPECT_FALSE((*strategy->Update({3, 0, 10, 4}, layers)).has_value());  // past the end
}

}  // namespace
}  // namespace prunelab
