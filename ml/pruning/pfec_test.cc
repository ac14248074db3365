#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/pruning/pfec.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<PruningStrategy> Create(const Pfec& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return *CreatePruningStrategy(parameters, {&network, 1});
}

TEST(PfecTest, MasksAreTheReferences) {
  for (const FilterMaskReference& reference : kPfecMasks) {
    Pfec parameters;
    parameters.set_rate(reference.rate);
    const auto update = *Create(parameters)->Update({0, 0, 10, 4}, ReferenceLayers(Granularity::kFilter));
    EXPECT_EQ(FilterBits(update->masks), reference.filters) << reference.rate;
  }
}

TEST(PfecTest, RanksOnceInTheLayersChosenAndKeepsWhatIsMasked) {
  Pfec parameters;
  parameters.set_rate(0.25);
  parameters.set_epoch(2);
  parameters.mutable_layers()->set_exclude("block.conv*");
  const auto strategy = Create(parameters);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
  EXPECT_FALSE((*strategy->Update({0, 0, 10, 4}, layers)).has_value());
  EXPECT_FALSE((*strategy->Update({2, 1, 10, 4}, layers)).has_value());
  layers[0].weight[5].fill_(100);  // masked before, its dense weights notwithstanding
  layers[0].mask[5].zero_();
  layers[3].weight.fill_(0.5);
  layers[3].weight[2].fill_(-1);
  const auto update = *strategy->Update({2, 0, 10, 4}, layers);
  EXPECT_EQ(update->masks.size(), 2u);
  EXPECT_EQ(update->masks.at("stem")[5].item<float>(), 0);
  EXPECT_EQ(update->masks.at("stem").sum().item<float>(), 5);
  EXPECT_EQ(update->masks.at("block.downsample")[2].item<float>(), 1);
}

}  // namespace
}  // namespace prunelab
