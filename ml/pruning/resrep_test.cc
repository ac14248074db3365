#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <string>

#include "ml/network/compactors.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/resrep.pb.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

Resrep OfAllLayers() {
  Resrep parameters;
  parameters.mutable_layers()->set_include("*");
  parameters.set_rate(0.5);
  parameters.set_first_epoch(1);
  parameters.set_period(4);
  return parameters;
}

std::unique_ptr<PruningStrategy> Create(const Resrep& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

int64_t Forgetting(const PruningStrategy& strategy) { return MaskedCount(strategy.learns_from_loss()); }

// Of 36 filters 19, four more each time.
TEST(ResrepTest, ForgetsAFewFiltersMoreEachPeriod) {
  const auto strategy = Create(OfAllLayers());
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 3);
  for (int64_t step = 0; step < 40; ++step) {
    const StepPosition position = {step / 10, step % 10, 10, 4};
    EXPECT_FALSE((*strategy->Update(position, layers)).has_value());
    const int64_t times = step < 10 ? 0 : (step - 10) / 4 + 1;
    EXPECT_EQ(Forgetting(*strategy), std::min<int64_t>(19, 4 * times)) << step;
  }
}

// The filters of identities are all equal: then not all of them are chosen, but the first ones. All at once is a number
// like another.
TEST(ResrepTest, EqualFiltersAreChosenByTheirOrder) {
  Resrep parameters = OfAllLayers();
  parameters.set_filters_at_a_time(std::numeric_limits<int64_t>::max());
  const auto strategy = Create(parameters);
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 3);
  for (PrunableLayer& layer : layers) layer.weight = at::ones({layer.weight.size(0), 4, 1, 1});
  for (int64_t step = 10; step < 30; ++step) {
    ASSERT_TRUE(strategy->Update({step / 10, step % 10, 10, 4}, layers).ok());
    EXPECT_EQ(Forgetting(*strategy), 19) << step;
  }
}

// It is those of the smallest norm, not of the smallest mean: a filter of fewer weights is no larger for that.
TEST(ResrepTest, RanksByTheNormOfTheWholeFilter) {
  Resrep parameters = OfAllLayers();
  parameters.set_filters_at_a_time(1);
  const auto strategy = Create(parameters);
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 3);
  for (PrunableLayer& layer : layers) layer.weight = at::ones_like(layer.weight);
  layers[1].weight[5].mul_(0.5);              // 72 weights: norm 4.2
  ASSERT_EQ(layers[3].weight[2].numel(), 8);  // norm 2.8
  EXPECT_TRUE(strategy->Update({1, 0, 10, 4}, layers).ok());
  EXPECT_EQ(Forgetting(*strategy), 1);
  EXPECT_EQ(MaskedCount({{"", strategy->learns_from_loss().at("block.downsample")}}), 1);
}

// What forgets and is small goes at an epoch's end, and stays away though it is chosen no longer.
TEST(ResrepTest, MasksWhatHasShrunk) {
  Resrep parameters = OfAllLayers();
  parameters.set_threshold(0.01);
  const auto strategy = Create(parameters);
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 3);
  layers[0].weight[2].mul_(1e-5);
  layers[0].weight[3].mul_(1e-5);
  ASSERT_TRUE(strategy->Update({0, 0, 10, 4}, layers).ok());
  EXPECT_FALSE((*strategy->EndEpoch({0, 9, 10, 4}, layers)).has_value());
  ASSERT_TRUE(strategy->Update({1, 0, 10, 4}, layers).ok());
  auto update = *strategy->EndEpoch({1, 9, 10, 4}, layers);
  EXPECT_EQ(MaskedCount(update->masks), 2);
  EXPECT_EQ(update->masks.at("stem")[2].item<float>(), 0);
  EXPECT_EQ(update->masks.at("stem")[3].item<float>(), 0);
  for (PrunableLayer& layer : layers) layer.mask = update->masks.at(layer.node);
  layers[0].weight[2].mul_(1e6);
  ASSERT_TRUE(strategy->Update({2, 2, 10, 4}, layers).ok());
  update = *strategy->EndEpoch({2, 9, 10, 4}, layers);
  EXPECT_EQ(MaskedCount(update->masks), 2);
}

TEST(ResrepTest, WantsCompactors) {
  const NetworkInfo plain = ExampleNetwork();
  const absl::Status status = CreatePruningStrategy(Resrep(), {&plain, 1}).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("compactors {}"));
  const NetworkInfo with = *NetworkInfo::Create(*WithCompactors(plain, {"stem", "block.conv2"}));
  const auto strategy = *CreatePruningStrategy(Resrep(), {&with, 1});
  std::vector<PrunableLayer> layers;
  for (const ConvInfo& conv : with.convs()) {
    const at::Tensor weight = at::ones({8, conv.node == "block.conv1" ? 8 : 3, 1, 1});
    layers.push_back({conv.node, weight, at::ones({8, 1, 1, 1}), {}});
  }
  ASSERT_TRUE(strategy->Update({0, 0, 10, 4}, layers).ok());
  EXPECT_EQ(strategy->learns_from_loss().size(), 2u);
  EXPECT_EQ(strategy->learns_from_loss().count("stem.compactor"), 1u);
}

TEST(ResrepTest, RefusesWhatMakesNoSense) {
  const NetworkInfo network = ExampleNetwork();
  const auto error = [&](const Resrep& parameters) {
    return std::string(CreatePruningStrategy(parameters, {&network, 1}).status().message());
  };
  Resrep parameters = OfAllLayers();
  parameters.set_threshold(0);
  EXPECT_THAT(error(parameters), HasSubstr("threshold"));
  parameters = OfAllLayers();
  parameters.set_filters_at_a_time(0);
  EXPECT_THAT(error(parameters), HasSubstr("filters_at_a_time"));
  parameters = OfAllLayers();
  parameters.set_min_live_filters(0);
  EXPECT_THAT(error(parameters), HasSubstr("min_live_filters"));
  parameters = OfAllLayers();
  parameters.set_period(0);
  EXPECT_THAT(error(parameters), HasSubstr("period"));
}

}  // namespace
}  // namespace prunelab
