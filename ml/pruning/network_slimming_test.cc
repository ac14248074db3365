#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/network_slimming.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

TEST(NetworkSlimmingTest, OneThresholdOverAllScalesAsByNumpy) {
  const ReferenceNetwork reference;
  NetworkSlimming parameters;
  parameters.set_rate(0.5);
  parameters.set_epoch(2);
  parameters.set_min_live_filters(0);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  const MaskUpdate update = reference.FirstUpdate(*strategy, 2);
  ASSERT_EQ(update.masks.size(), 5);
  for (const auto& [node, mask] : update.masks) {
    EXPECT_TRUE(mask.flatten().equal(reference.Value("slimming." + node))) << node;
  }
  // Scale and bias of what is masked become zero, the others stay.
  EXPECT_EQ(update.new_weights.size(), 10);
  for (const char* name : {"bn2.weight", "bn2.bias"}) {
    EXPECT_TRUE(update.new_weights.at(name).equal(reference.Value(name) * reference.Value("slimming.conv2"))) << name;
  }
}

TEST(NetworkSlimmingTest, ALayerDoesNotVanishUnlessItMay) {
  const ReferenceNetwork reference;
  NetworkSlimming parameters;
  parameters.set_rate(0.9);
  for (const int64_t least : {1, 2}) {
    parameters.set_min_live_filters(least);
    const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
    for (const auto& [node, mask] : reference.FirstUpdate(*strategy).masks) {
      EXPECT_GE(mask.sum().item<double>(), least) << node;
    }
  }
}

TEST(NetworkSlimmingTest, RefusesWhereThereIsNothingToRankBy) {
  const NetworkInfo without_batch_norm = ExampleNetwork();
  PruningSetup setup;
  setup.network = &without_batch_norm;
  EXPECT_EQ(ErrorField(CreatePruningStrategy(NetworkSlimming(), setup).status()), "layers");

  const ReferenceNetwork reference;
  Model fresh = Model::Create(reference.info(), at::kFloat, at::kCPU);
  const ModelProbe probe(fresh, nullptr, nullptr, 1);
  const auto strategy = *CreatePruningStrategy(NetworkSlimming(), reference.Setup());
  strategy->Attach(probe);
  const absl::Status status = strategy->Update({}, reference.Layers(Granularity::kFilter)).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("the scales of all 33 filters are 1"));
}

TEST(NetworkSlimmingTest, FreshWeightsAreRefusedBeforeTraining) {
  const ReferenceNetwork reference;
  PruningSetup setup = reference.Setup();
  setup.fresh_weights = true;
  NetworkSlimming parameters;
  const absl::Status status = CreatePruningStrategy(parameters, setup).status();
  EXPECT_EQ(ErrorField(status), "epoch");
  EXPECT_EQ(
      ErrorText(status),
      "is 0, where the weights are fresh and all scales of batch norms are 1, so that they cannot be ranked; must "
      "be 1 or later (and train with the regularizer BatchNormL1 until then), or start from trained "
      "initial_weights");
  parameters.set_epoch(1);
  EXPECT_TRUE(CreatePruningStrategy(parameters, setup).ok());
  parameters.set_epoch(0);
  parameters.set_rate(0);  // nothing is ranked
  EXPECT_TRUE(CreatePruningStrategy(parameters, setup).ok());
  parameters.clear_rate();
  setup.fresh_weights = false;
  EXPECT_TRUE(CreatePruningStrategy(parameters, setup).ok());
}

}  // namespace
}  // namespace prunelab
