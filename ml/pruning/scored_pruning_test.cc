#include "ml/pruning/scored_pruning.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/scored_pruning_test.pb.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

at::Tensor Change(const TestAgain& parameters, const at::Tensor& weight, const at::Tensor& gradient) {
  return (weight * gradient).abs().pow(parameters.power());
}
at::Tensor FirstWeight(const TestOnce&, const at::Tensor& weight) {
  return weight.flatten(1).select(1, 0).abs().view({-1, 1, 1, 1});
}
at::Tensor Magnitude(const TestRising&, const at::Tensor& weight) { return weight.abs(); }
at::Tensor Nothing(const TestNever&, const at::Tensor&) { return {}; }

const bool registered =
    RegisterScoredPruning(Granularity::kFilter, &Change) && RegisterScoredPruning(Granularity::kFilter, &FirstWeight) &&
    RegisterScoredPruning(Granularity::kFilter, &Magnitude) && RegisterScoredPruning(Granularity::kWeight, &Nothing);

class ScoredPruningTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const google::protobuf::Message& parameters) const {
    return CreatePruningStrategy(parameters, {&network_, 1});
  }

  const NetworkInfo network_ = ExampleNetwork();
};

// Two layers of two filters: gradients make the second filter of `stem` matter least, with the power of 2 alone.
TEST_F(ScoredPruningTest, MasksWhatScoresLeastAfterItsOwnParameters) {
  TestAgain parameters;
  parameters.mutable_layers()->set_include("stem");
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (PrunableLayer& layer : layers) layer.gradient = at::ones_like(layer.weight);
  layers[0].weight.fill_(9);
  layers[0].weight[1].fill_(1);               // 27 weights: a mean of 1, and of squares 1
  layers[0].weight[2].zero_()[0][0][0] = 18;  // a mean of 2/3, and of squares 12
  parameters.set_rate(0.1);                   // int(8 * 0.1) + 1 = 1 filter
  for (const double power : {1.0, 2.0}) {
    parameters.set_power(power);
    const auto strategy = *Create(parameters);
    EXPECT_TRUE(strategy->needs_gradients());
    EXPECT_EQ(strategy->granularity(), Granularity::kFilter);
    const auto update = *strategy->Update({0, 3, 10, 1}, layers);
    ASSERT_EQ(update->masks.size(), 1u);
    const at::Tensor mask = update->masks.at("stem").flatten();
    EXPECT_EQ(mask.sum().item<float>(), 7);
    EXPECT_EQ(mask[power == 1 ? 2 : 1].item<float>(), 0) << power;
  }
}

TEST_F(ScoredPruningTest, APeriodRanksAgainAndLetsWhatIsMaskedReturn) {
  TestAgain parameters;
  const auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);
  EXPECT_TRUE(strategy->regrows());
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (PrunableLayer& layer : layers) layer.gradient = at::ones_like(layer.weight);
  for (int64_t iteration = 0; iteration < 10; ++iteration) {
    const auto update = *strategy->Update({5, iteration, 10, 9}, layers);
    EXPECT_EQ(update.has_value(), iteration == 3 || iteration == 7) << iteration;
  }
}

TEST_F(ScoredPruningTest, AnEpochRanksOnceScoresOfFilters) {
  TestOnce parameters;
  parameters.set_epoch(2);
  auto strategy = *Create(parameters);
  EXPECT_FALSE(strategy->needs_gradients());
  EXPECT_FALSE(strategy->regrows());
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);  // as the field says
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  EXPECT_FALSE((*strategy->Update({1, 0, 10, 4}, layers)).has_value());
  EXPECT_FALSE((*strategy->Update({2, 1, 10, 4}, layers)).has_value());
  EXPECT_EQ(MaskedCount((*strategy->Update({2, 0, 10, 4}, layers))->masks), 19);  // int(36 * 0.5) + 1
}

TEST_F(ScoredPruningTest, ABeginMakesTheRateRise) {
  TestRising parameters;
  const auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->granularity(), Granularity::kWeight);  // as the field says
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  EXPECT_FALSE(strategy->regrows());
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kWeight, 1);
  int64_t weights = 0;
  for (const PrunableLayer& layer : layers) weights += layer.weight.numel();
  // At half of the way the rate is 7/8 of the last.
  EXPECT_EQ(MaskedCount((*strategy->Update({0, 5, 10, 4}, layers))->masks), static_cast<int64_t>(weights * 0.4375) + 1);
  EXPECT_EQ(MaskedCount((*strategy->Update({1, 0, 10, 4}, layers))->masks), weights / 2 + 1);
  EXPECT_FALSE((*strategy->Update({1, 1, 10, 4}, layers)).has_value());
  parameters.set_granularity(MaskUnit::FILTER);
  EXPECT_EQ((*Create(parameters))->granularity(), Granularity::kFilter);
}

TEST_F(ScoredPruningTest, RefusesBadFields) {
  TestAgain again;
  again.set_rate(1);
  EXPECT_EQ(ErrorField(Create(again).status()), "rate");
  again.set_rate(0.5);
  again.set_period(0);
  EXPECT_EQ(ErrorField(Create(again).status()), "period");
  again.set_period(1);  // its scores need a gradient, and there is none before the first step
  EXPECT_EQ(ErrorField(Create(again).status()), "period");
  again.set_period(2);
  again.mutable_layers()->set_include("none");
  EXPECT_EQ(ErrorField(Create(again).status()), "layers.include");
  again.clear_layers();
  again.mutable_ranking()->set_max_rate(2);
  EXPECT_EQ(ErrorField(Create(again).status()), "ranking.max_rate");
  TestRising rising;
  rising.set_begin_epoch(1);
  EXPECT_EQ(ErrorField(Create(rising).status()), "end_epoch");
  TestOnce once;
  once.set_epoch(-1);
  EXPECT_EQ(ErrorField(Create(once).status()), "epoch");
}

TEST_F(ScoredPruningTest, AMessageMustSayWhen) {
  EXPECT_DEATH(Create(TestNever()).IgnoreError(), "prunelab.TestNever must have one of epoch and period");
}

}  // namespace
}  // namespace prunelab
