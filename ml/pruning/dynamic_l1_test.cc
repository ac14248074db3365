#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

class DynamicL1Test : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const DynamicL1& parameters) const {
    PruningSetup setup;
    setup.network = &network_;
    return CreatePruningStrategy(parameters, setup);
  }
  static StepPosition At(int64_t epoch, int64_t iteration) {
    StepPosition position;
    position.epoch = epoch;
    position.iteration = iteration;
    position.iterations_per_epoch = 8;
    return position;
  }
  const NetworkInfo network_ = ExampleNetwork();
};

TEST_F(DynamicL1Test, DefaultsAreThePapers) {
  const DynamicL1 parameters;
  EXPECT_EQ(parameters.rate(), 0.6);
  EXPECT_EQ(parameters.period(), 4);
  const auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->granularity(), Granularity::kFilter);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);
  EXPECT_FALSE(strategy->needs_gradients());
}

TEST_F(DynamicL1Test, UpdatesAtThePeriodAndInTheEpochsAsked) {
  DynamicL1 parameters;
  parameters.set_first_epoch(1);
  parameters.set_last_epoch(2);
  const auto strategy = *Create(parameters);
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    for (int64_t iteration = 0; iteration < 8; ++iteration) {
      const bool expected = (epoch == 1 || epoch == 2) && (iteration == 3 || iteration == 7);
      EXPECT_EQ((*strategy->Update(At(epoch, iteration), layers)).has_value(), expected) << epoch << " " << iteration;
    }
  }
}

TEST_F(DynamicL1Test, AMaskedFilterReturnsWhenItsDenseWeightsGrow) {
  const auto strategy = *Create(DynamicL1());
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  layers[0].weight[2].fill_(1e-3);
  std::map<std::string, at::Tensor> masks = (*strategy->Update(At(0, 3), layers))->masks;
  EXPECT_EQ(MaskedCount(masks), 22);  // int(36 * 0.6) + 1
  EXPECT_EQ(masks.at("stem")[2].item<float>(), 0);
  for (PrunableLayer& layer : layers) layer.mask = masks.at(layer.node);
  layers[0].weight[2].fill_(-9);
  masks = (*strategy->Update(At(0, 7), layers))->masks;
  EXPECT_EQ(masks.at("stem")[2].item<float>(), 1);
  EXPECT_EQ(MaskedCount(masks), 22);
}

TEST_F(DynamicL1Test, GradientImportances) {
  DynamicL1 parameters;
  parameters.set_importance(Importance::GRADIENT);
  const auto strategy = *Create(parameters);
  EXPECT_TRUE(strategy->needs_gradients());
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (PrunableLayer& layer : layers) layer.gradient = at::Tensor();
  const absl::Status status = strategy->Update(At(0, 3), layers).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stem"));
  EXPECT_TRUE(strategy->Update(At(0, 2), layers).ok());
  // Refused at once where the first update would come before any step.
  parameters.set_period(1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "importance");
  parameters.set_first_epoch(1);
  EXPECT_TRUE(Create(parameters).ok());
}

TEST_F(DynamicL1Test, RefusesAnEmptyRangeOfEpochs) {
  DynamicL1 parameters;
  parameters.set_first_epoch(3);
  parameters.set_last_epoch(2);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "last_epoch");
}

}  // namespace
}  // namespace prunelab
