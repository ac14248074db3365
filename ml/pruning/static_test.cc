#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/static.pb.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

TEST(StaticTest, RanksOnceAtItsEpochsFirstStep) {
  const NetworkInfo network = ExampleNetwork();
  Static parameters;
  parameters.set_rate(0.5);
  parameters.set_epoch(2);
  PruningSetup setup;
  setup.network = &network;
  const auto strategy = *CreatePruningStrategy(parameters, setup);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    for (int64_t iteration = 0; iteration < 5; ++iteration) {
      StepPosition position;
      position.epoch = epoch;
      position.iteration = iteration;
      position.iterations_per_epoch = 5;
      const auto update = *strategy->Update(position, ExampleLayers(Granularity::kFilter, 1));
      ASSERT_EQ(update.has_value(), epoch == 2 && iteration == 0);
      if (!update) continue;
      EXPECT_EQ(MaskedCount(update->masks), 19);  // int(36 * 0.5) + 1
    }
  }
}

TEST(StaticTest, GradientImportanceNeedsAStepBefore) {
  const NetworkInfo network = ExampleNetwork();
  PruningSetup setup;
  setup.network = &network;
  Static parameters;
  parameters.set_importance(Importance::WEIGHT_TIMES_GRADIENT);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, setup).status()), "epoch");
  parameters.set_epoch(1);
  EXPECT_TRUE(CreatePruningStrategy(parameters, setup).ok());
}

}  // namespace
}  // namespace prunelab
