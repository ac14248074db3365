#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/soft_filter.pb.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<PruningStrategy> Create(const SoftFilter& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

TEST(SoftFilterTest, MasksAreTheReferences) {
  for (const FilterMaskReference& reference : kSoftFilterMasks) {
    SoftFilter parameters;
    parameters.set_rate(reference.rate);
    const auto update = *Create(parameters)->EndEpoch({0, 9, 10, 4}, ReferenceLayers(Granularity::kFilter));
    EXPECT_EQ(FilterBits(update->masks), reference.filters) << reference.rate;
    EXPECT_EQ(update->weights, MaskUpdate::Weights::kZeroMasked);
    EXPECT_EQ(update->momentum, MaskUpdate::Momentum::kKeep);
  }
}

TEST(SoftFilterTest, FiltersAreZeroedAtTheEndsAndFreeInBetween) {
  SoftFilter parameters;
  parameters.set_rate(0.6);
  parameters.set_period_epochs(2);
  const auto strategy = Create(parameters);
  const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  for (int64_t epoch = 0; epoch < 6; ++epoch) {
    const auto freed = *strategy->Update({epoch, 0, 10, 6}, layers);
    EXPECT_EQ(freed.has_value(), epoch % 2 == 1 || epoch == 0) << epoch;
    if (freed) EXPECT_EQ(MaskedCount(freed->masks), 0) << epoch;
    EXPECT_FALSE((*strategy->Update({epoch, 1, 10, 6}, layers)).has_value());
    const auto zeroed = *strategy->EndEpoch({epoch, 9, 10, 6}, layers);
    EXPECT_EQ(zeroed.has_value(), epoch % 2 == 0 || epoch == 5) << epoch;
  }
}

TEST(SoftFilterTest, FiltersAreZeroedBeforeTheFirstStep) {
  SoftFilter parameters;
  parameters.mutable_layers()->set_include("stem");
  const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  const auto update = *Create(parameters)->Update({0, 0, 10, 6}, layers);
  ASSERT_EQ(update->new_weights.size(), 1u);
  const at::Tensor zeroed = update->new_weights.at("stem.weight");
  for (int64_t filter = 0; filter < 8; ++filter) {
    const bool live = kSoftFilterMasks[1].filters[filter] == '1';  // at the rate of 0.6, the default
    EXPECT_TRUE(zeroed[filter].equal(live ? layers[0].weight[filter] : at::zeros({3, 3, 3}))) << filter;
  }
}

}  // namespace
}  // namespace prunelab
