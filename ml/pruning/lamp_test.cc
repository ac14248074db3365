#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/lamp.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Lamp& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return CreatePruningStrategy(parameters, {&network, 1});
}

TEST(LampTest, MasksAreTheReferences) {
  for (const WeightMaskReference& reference : kLampMasks) {
    Lamp parameters;
    parameters.set_rate(reference.rate);
    const auto update = *(*Create(parameters))->Update({0, 0, 10, 4}, ReferenceLayers(Granularity::kWeight));
    EXPECT_EQ(WeightMaskDigest(update->masks), reference.sha256) << reference.rate;
  }
}

TEST(LampTest, RoundsMaskTheSameFractionOfWhatIsLeft) {
  Lamp parameters;
  parameters.set_rate(0.9);
  parameters.set_epoch(1);
  parameters.set_rounds(2);
  parameters.set_round_epochs(2);
  const auto strategy = *Create(parameters);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  std::vector<std::string> digests;
  for (int64_t epoch = 0; epoch < 8; ++epoch) {
    EXPECT_FALSE((*strategy->Update({epoch, 1, 10, 8}, layers)).has_value());
    const auto update = *strategy->Update({epoch, 0, 10, 8}, layers);
    EXPECT_EQ(update.has_value(), epoch == 1 || epoch == 3) << epoch;
    if (!update) continue;
    digests.push_back(WeightMaskDigest(update->masks));
    SetMasks(update->masks, layers);
    // What is masked does not come back, whatever its dense weight is.
    for (PrunableLayer& layer : layers) layer.weight = at::where(layer.mask.gt(0), layer.weight, at::full({}, 7.0f));
  }
  EXPECT_EQ(digests, (std::vector<std::string>{kLampFirstOfTwoRounds, kLampSecondOfTwoRounds}));
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
}

TEST(LampTest, ALayerOfEqualWeightsScoresHigh) {
  Lamp parameters;
  parameters.set_rate(0.5);
  parameters.mutable_layers()->set_include("block.downsample,stem");
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  layers[0].weight.fill_(0.01);
  layers[3].weight.copy_(at::arange(1, 65, at::kFloat).view({8, 8, 1, 1}));
  const auto update = *(*Create(parameters))->Update({0, 0, 10, 4}, layers);
  // 216 equal scores of 1/216; arange's score is k^2 / sum of k^2..64^2, above 1/216 from about k = 20.
  int64_t smaller = 0;
  for (int64_t k = 1; k <= 64; ++k) {
    double sum = 0;
    for (int64_t j = k; j <= 64; ++j) sum += static_cast<double>(j * j);
    smaller += k * k / sum < 1.0 / 216;
  }
  EXPECT_EQ(update->masks.at("block.downsample").eq(0).sum().item<int64_t>(), smaller);
  EXPECT_EQ(update->masks.at("stem").eq(0).sum().item<int64_t>(), 141 - smaller);  // int(280 * 0.5) + 1 in all
}

TEST(LampTest, RefusesNoRound) {
  Lamp parameters;
  parameters.set_rounds(0);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "rounds");
  parameters.set_rounds(2);
  parameters.set_round_epochs(0);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "round_epochs");
}

}  // namespace
}  // namespace prunelab
