#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <utility>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/unstructured.pb.h"

namespace prunelab {
namespace {

constexpr int64_t kWeights = 2008;

class UnstructuredTest : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Unstructured& parameters) const {
    PruningSetup setup;
    setup.network = &network_;
    return CreatePruningStrategy(parameters, setup);
  }

  // (step, weights masked) of every update in `steps` steps, 10 an epoch.
  static std::vector<std::pair<int64_t, int64_t>> Updates(PruningStrategy& strategy, int64_t steps) {
    const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kWeight, 1);
    std::vector<std::pair<int64_t, int64_t>> updates;
    for (int64_t step = 0; step < steps; ++step) {
      StepPosition position;
      position.epoch = step / 10;
      position.iteration = step % 10;
      position.iterations_per_epoch = 10;
      const auto update = *strategy.Update(position, layers);
      if (update) updates.emplace_back(step, MaskedCount(update->masks));
    }
    return updates;
  }

  const NetworkInfo network_ = ExampleNetwork();
};

TEST_F(UnstructuredTest, OneShot) {
  Unstructured parameters;
  auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->granularity(), Granularity::kWeight);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  EXPECT_EQ(Updates(*strategy, 30), (std::vector<std::pair<int64_t, int64_t>>{{0, kWeights * 6 / 10 + 1}}));
  parameters.mutable_one_shot()->set_epoch(2);
  parameters.set_gradient(MaskGradient::STRAIGHT_THROUGH);
  strategy = *Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);
  EXPECT_EQ(Updates(*strategy, 30), (std::vector<std::pair<int64_t, int64_t>>{{20, kWeights * 6 / 10 + 1}}));
}

TEST_F(UnstructuredTest, GradualFollowsTheCubicSchedule) {
  Unstructured parameters;
  parameters.set_rate(0.8);
  parameters.mutable_gradual()->set_initial_rate(0.1);
  parameters.mutable_gradual()->set_begin_epoch(1);
  parameters.mutable_gradual()->set_end_epoch(2);
  parameters.mutable_gradual()->set_period(4);
  const auto strategy = *Create(parameters);
  // Steps 10, 14, 18 and the end, 20: left 1, 0.6, 0.2, 0, so rates 0.1, 0.8 - 0.7 * 0.216 = 0.6488,
  // 0.8 - 0.7 * 0.008 = 0.7944, 0.8 of 2,008 weights: 200.8, 1302.79, 1595.16, 1606.4.
  EXPECT_EQ(Updates(*strategy, 40),
            (std::vector<std::pair<int64_t, int64_t>>{{10, 201}, {14, 1303}, {18, 1596}, {20, 1607}}));
}

TEST_F(UnstructuredTest, RefusesContradictions) {
  Unstructured parameters;
  parameters.set_rate(0.5);
  parameters.mutable_gradual()->set_initial_rate(0.6);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "gradual.initial_rate");
  parameters.mutable_gradual()->set_initial_rate(0);
  parameters.mutable_gradual()->set_begin_epoch(1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "gradual.end_epoch");
  parameters.mutable_one_shot()->set_epoch(-1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "one_shot.epoch");
}

}  // namespace
}  // namespace prunelab
