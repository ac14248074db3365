#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/rigl.pb.h"
#include "ml/pruning/testing/example_layers.h"
#include "ml/pruning/testing/reference_layers.h"
#include "ml/pruning/testing/strategy_reference.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const Rigl& parameters) {
  const NetworkInfo network = ExampleNetwork();
  return CreatePruningStrategy(parameters, {&network, 1});
}

TEST(RiglTest, StartsRandomAndSparse) {
  const std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  Rigl parameters;
  parameters.set_rate(0.9);
  auto update = *(*Create(parameters))->Update({0, 0, 100, 10}, layers);
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor mask = update->masks.at(layers[i].node);
    EXPECT_NEAR(mask.sum().item<double>(), kErdosRenyiKernelDensities90[i] * mask.numel(), 1) << layers[i].node;
  }
  EXPECT_NEAR(MaskedCount(update->masks), 0.9 * 2008, 1);
  parameters.set_distribution(Rigl::UNIFORM);
  update = *(*Create(parameters))->Update({0, 0, 100, 10}, layers);
  for (const PrunableLayer& layer : layers) {
    const at::Tensor mask = update->masks.at(layer.node);
    EXPECT_NEAR(mask.sum().item<double>(), 0.1 * mask.numel(), 1) << layer.node;
  }
}

TEST(RiglTest, DropsAndGrowsAsTheReference) {
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  const std::vector<PrunableLayer> drawn = ReferenceLayers(Granularity::kWeight, 8);
  std::map<std::string, at::Tensor> start;
  for (size_t i = 0; i < layers.size(); ++i) start[layers[i].node] = drawn[i].gradient.gt(0.2).to(at::kFloat);
  ASSERT_EQ(WeightMaskDigest(start), kRiglStart);
  SetMasks(start, layers);
  const auto strategy = *Create(Rigl());
  EXPECT_TRUE(strategy->needs_gradients());
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  const auto update = *strategy->Update({1, 0, 100, 10}, layers);
  EXPECT_EQ(WeightMaskDigest(update->masks), kRiglMasks);
  EXPECT_EQ(MaskedCount(update->masks), MaskedCount(start));
  EXPECT_EQ(update->weights, MaskUpdate::Weights::kZeroGrown);
  EXPECT_EQ(update->momentum, MaskUpdate::Momentum::kZeroGrown);
  EXPECT_FALSE((*strategy->Update({1, 1, 100, 10}, layers)).has_value());
  EXPECT_TRUE((*strategy->Update({7, 0, 100, 10}, layers)).has_value());
  EXPECT_FALSE((*strategy->Update({8, 0, 100, 10}, layers)).has_value());  // from 3/4 of the run on
}

// Eight live weights of 64, of which a quarter is dropped half-way: 0.5 / 2 (1 + cos(pi / 2)).
TEST(RiglTest, ByHand) {
  Rigl parameters;
  parameters.set_drop_fraction(0.5);
  parameters.set_last(1);
  parameters.set_period(5);
  parameters.mutable_layers()->set_include("block.downsample");
  std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kWeight);
  PrunableLayer& layer = layers[3];
  const at::Tensor weight = layer.weight.view({-1}), gradient = layer.gradient.view({-1});
  layer.mask.zero_();
  layer.mask.view({-1}).slice(0, 0, 8).fill_(1);
  weight.slice(0, 0, 8).copy_(at::tensor({8, 7, 6, 5, 4, -3, 2, -1}));
  weight.slice(0, 8).fill_(100);  // masked: count for nothing
  gradient.zero_();
  gradient[7] = 5;  // dropped, and grown again
  gradient[60] = -4;
  gradient[0] = 9;  // stays anyway
  const auto update = *(*Create(parameters))->Update({0, 5, 10, 1}, layers);
  const at::Tensor live = update->masks.at("block.downsample").view({-1}).nonzero().view({-1});
  EXPECT_TRUE(live.equal(at::tensor({0, 1, 2, 3, 4, 5, 7, 60}, at::kLong))) << live;
}

// Four live filters of eight, of which half are dropped: by mean |w|; as many grow by mean |gradient|.
TEST(RiglTest, FiltersByHand) {
  for (const Rigl::Grown grown : {Rigl::ZERO, Rigl::FRESH}) {
    Rigl parameters;
    parameters.set_granularity(MaskUnit::FILTER);
    parameters.set_drop_fraction(1);
    parameters.set_last(1);
    parameters.set_period(5);
    parameters.set_grown(grown);
    parameters.mutable_layers()->set_include("block.downsample");
    std::vector<PrunableLayer> layers = ReferenceLayers(Granularity::kFilter);
    PrunableLayer& layer = layers[3];
    for (int64_t filter = 0; filter < 8; ++filter) {
      layer.mask[filter].fill_(filter < 4);
      layer.weight[filter].fill_(filter % 2 ? 4 - filter : filter - 4);  // |w| of the live ones: 4, 3, 2, 1
      layer.gradient[filter].fill_(0);
    }
    layer.gradient[6][0].fill_(-80);
    layer.gradient[3].fill_(2);   // dropped, and grown again
    layer.gradient[0].fill_(99);  // stays anyway
    const auto update = *(*Create(parameters))->Update({0, 5, 10, 1}, layers);
    EXPECT_TRUE(
        at::equal(update->masks.at("block.downsample").flatten(), at::tensor({1, 1, 0, 1, 0, 0, 1, 0}).to(at::kFloat)));
    EXPECT_EQ(update->weights, MaskUpdate::Weights::kZeroGrown);
    if (grown == Rigl::ZERO) {
      EXPECT_TRUE(update->new_weights.empty());
      continue;
    }
    const at::Tensor weight = update->new_weights.at("block.downsample.weight");
    EXPECT_TRUE(at::equal(weight.slice(0, 0, 6), layer.weight.slice(0, 0, 6)));
    EXPECT_FALSE(at::equal(weight[6], layer.weight[6]));
    EXPECT_LT(weight[6].abs().max().item<double>(), 5 * std::sqrt(2.0 / 8));
  }
}

TEST(RiglTest, EachLayerStartsWithAFilter) {
  Rigl parameters;
  parameters.set_granularity(MaskUnit::FILTER);
  parameters.set_rate(0.97);
  const auto update = *(*Create(parameters))->Update({0, 0, 100, 10}, ReferenceLayers(Granularity::kFilter));
  ASSERT_EQ(update->masks.size(), 4u);
  for (const auto& [node, mask] : update->masks) {
    EXPECT_EQ(mask.dim() == 4 ? mask.size(1) : 0, 1) << node;
    EXPECT_GE(mask.sum().item<double>(), 1) << node;
  }
}

TEST(RiglTest, RefusesBadFractions) {
  Rigl parameters;
  parameters.set_drop_fraction(1.5);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "drop_fraction");
  parameters.set_drop_fraction(0.3);
  parameters.set_last(0);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "last");
}

}  // namespace
}  // namespace prunelab
