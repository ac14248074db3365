#include "ml/pruning/snip.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/snip.pb.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

TEST(SnipTest, ScoresAreThoseOfPyTorch) {
  const ReferenceNetwork reference;
  const auto layers = reference.Layers(Granularity::kWeight);
  const auto weights = *SnipScores(reference.probe(), layers, 100, Granularity::kWeight);
  const auto filters = *SnipScores(reference.probe(), layers, 100, Granularity::kFilter);
  for (const PrunableLayer& layer : layers) {
    EXPECT_TRUE(AgreesWithReference(weights.at(layer.node), reference.Value("snip." + layer.node))) << layer.node;
    EXPECT_TRUE(AgreesWithReference(filters.at(layer.node), reference.Value("snip_filter." + layer.node)))
        << layer.node;
  }
}

TEST(SnipTest, FewerImagesGiveOtherScores) {
  const ReferenceNetwork reference;
  const auto layers = reference.Layers(Granularity::kWeight);
  const auto few = *SnipScores(reference.probe(), layers, 3, Granularity::kWeight);
  EXPECT_FALSE(AgreesWithReference(few.at("conv1"), reference.Value("snip.conv1")));
}

TEST(SnipTest, TheSmallestScoresAreMaskedOnce) {
  const ReferenceNetwork reference;
  Snip parameters;
  parameters.set_rate(0.8);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kMasked);
  const MaskUpdate update = reference.FirstUpdate(*strategy);
  double smallest_live = 1, largest_masked = 0;
  int64_t masked = 0, all = 0;
  for (const auto& [node, mask] : update.masks) {
    const at::Tensor score = reference.Value("snip." + node);
    smallest_live = std::min(smallest_live, at::where(mask.gt(0), score, 1.0).min().item<double>());
    largest_masked = std::max(largest_masked, at::where(mask.gt(0), 0.0, score).max().item<double>());
    masked += mask.eq(0).sum().item<int64_t>();
    all += mask.numel();
  }
  EXPECT_GT(smallest_live, largest_masked);
  EXPECT_EQ(masked, static_cast<int64_t>(0.8 * static_cast<double>(all)) + 1);
  StepPosition later;
  later.iteration = 1;
  EXPECT_FALSE(strategy->Update(later, reference.Layers(Granularity::kWeight))->has_value());
}

TEST(SnipTest, RefusesNoImages) {
  const ReferenceNetwork reference;
  Snip parameters;
  parameters.set_images(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "images");
}

}  // namespace
}  // namespace prunelab
