#include "ml/pruning/fpgm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/fpgm.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Fpgm& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return CreatePruningStrategy(parameters, {&network, 1});
}

TEST(FpgmTest, DistanceSumsAreTheReferences) {
  const double* expected = kFpgmDistanceSums;
  for (const PrunableLayer& layer : ReferenceLayers(Granularity::kFilter)) {
    const at::Tensor sums = DistanceSums(layer.weight);
    for (int64_t i = 0; i < sums.size(0); ++i) EXPECT_NEAR(sums[i].item<double>(), *expected++, 1e-10) << layer.node;
  }
}

// Filters at 0, 1, 2 and 10 on a line: distances sum to 13, 11, 11, 27.
TEST(FpgmTest, DistanceSumsByHand) {
  const at::Tensor sums = DistanceSums(at::tensor({0.0f, 1.0f, 2.0f, 10.0f}).view({4, 1, 1, 1}));
  EXPECT_TRUE(sums.equal(at::tensor({13.0, 11.0, 11.0, 27.0}, at::kDouble).view({4, 1, 1, 1}))) << sums;
}

TEST(FpgmTest, MasksAreTheReferences) {
  const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  for (size_t i = 0; i < std::size(kFpgmMasks); ++i) {
    Fpgm parameters;
    parameters.set_rate(kFpgmMasks[i].rate);
    auto update = *(*Create(parameters))->EndEpoch({0, 9, 10, 4}, layers);
    EXPECT_EQ(FilterBits(update->masks), kFpgmMasks[i].filters) << parameters.rate();
    EXPECT_EQ(update->weights, MaskUpdate::Weights::kZeroMasked);
    parameters.set_norm_rate(0.25);
    update = *(*Create(parameters))->EndEpoch({0, 9, 10, 4}, layers);
    EXPECT_EQ(FilterBits(update->masks), kFpgmMasksAfterNorms[i].filters) << parameters.rate();
  }
}

TEST(FpgmTest, MasksStayInForceUnlessSoft) {
  const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  Fpgm parameters;
  auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  EXPECT_GT(MaskedCount((*strategy->Update({0, 0, 10, 4}, layers))->masks), 0);
  EXPECT_FALSE((*strategy->Update({1, 0, 10, 4}, layers)).has_value());
  parameters.set_protocol(Fpgm::SOFT);
  strategy = *Create(parameters);
  EXPECT_EQ(MaskedCount((*strategy->Update({0, 0, 10, 4}, layers))->masks), 0);
  EXPECT_EQ(MaskedCount((*strategy->Update({1, 0, 10, 4}, layers))->masks), 0);
}

TEST(FpgmTest, RefusesMoreByNormThanInAll) {
  Fpgm parameters;
  parameters.set_rate(0.3);
  parameters.set_norm_rate(0.4);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "norm_rate");
  parameters.set_norm_rate(0.1);
  parameters.set_period_epochs(0);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "period_epochs");
}

}  // namespace
}  // namespace prunelab
