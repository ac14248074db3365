#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/pruning/dpf.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<PruningStrategy> Create(const Dpf& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

TEST(DpfTest, MasksAreTheReferences) {
  for (const WeightMaskReference& reference : kDpfMasks) {
    Dpf parameters;
    parameters.set_rate(reference.rate);
    const auto update = *Create(parameters)->Update({2, 0, 16, 4}, ReferenceLayers(Granularity::kWeight));  // the end
    EXPECT_EQ(WeightMaskDigest(update->masks), reference.sha256) << reference.rate;
  }
}

TEST(DpfTest, MasksAreMadeAnewAfterTheScheduleAndDenseWeightsReturn) {
  Dpf parameters;
  parameters.set_rate(0.5);
  parameters.set_granularity(MaskUnit::FILTER);
  parameters.set_end_epoch(1);
  parameters.set_last_epoch(2);
  const auto strategy = Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  layers[0].weight[3].fill_(1e-3);
  const auto first = *strategy->Update({1, 0, 16, 4}, layers);
  EXPECT_EQ(MaskedCount(first->masks), 19);  // int(36 * 0.5) + 1
  EXPECT_EQ(first->masks.at("stem")[3].item<float>(), 0);
  SetMasks(first->masks, layers);
  layers[0].weight[3].fill_(9);
  EXPECT_FALSE((*strategy->Update({1, 15, 16, 4}, layers)).has_value());
  const auto second = *strategy->Update({2, 0, 16, 4}, layers);
  EXPECT_EQ(second->masks.at("stem")[3].item<float>(), 1);
  EXPECT_EQ(MaskedCount(second->masks), 19);
  EXPECT_FALSE((*strategy->Update({3, 0, 16, 4}, layers)).has_value());
}

}  // namespace
}  // namespace prunelab
