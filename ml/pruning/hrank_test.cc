#include "ml/pruning/hrank.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "ml/base/field_error.h"
#include "ml/pruning/hrank.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

TEST(HrankTest, RanksByHand) {
  // A zero map, one of equal rows, the identity, and one whose second singular value is within float32's rounding.
  const at::Tensor maps =
      at::tensor({0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 1.0, 2.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1e-8}).view({1, 4, 2, 2});
  EXPECT_TRUE(at::equal(MapRanks(maps), at::tensor({0.0, 1.0, 2.0, 1.0})));
  // Over images they add up, and maps need not be square.
  EXPECT_TRUE(at::equal(MapRanks(maps.expand({3, 4, 2, 2})), at::tensor({0.0, 3.0, 6.0, 3.0})));
  EXPECT_TRUE(at::equal(MapRanks(at::eye(3, at::kDouble).slice(0, 0, 2).view({1, 1, 2, 3})), at::tensor({2.0})));
}

TEST(HrankTest, RanksAreThoseOfPyTorch) {
  const ReferenceNetwork reference;
  for (const auto& [node, maps] : reference.FeatureMaps()) {
    const at::Tensor mean = MapRanks(maps) / 12;
    EXPECT_TRUE(AgreesWithReference(mean, reference.Value("hrank." + node))) << node;
    EXPECT_GT(mean.max().item<double>(), mean.min().item<double>()) << node;
  }
}

TEST(HrankTest, TheSmallestOfEachLayerAreMasked) {
  const ReferenceNetwork reference;
  Hrank parameters;
  parameters.set_rate(0.5);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  const MaskUpdate update = reference.FirstUpdate(*strategy);
  EXPECT_EQ(update.masks.size(), 5u);
  Ranking per_layer;
  per_layer.set_scope(Ranking::PER_LAYER);
  per_layer.set_min_live_filters(1);
  for (const auto& [node, mask] : update.masks) {
    const at::Tensor score = reference.Value("hrank." + node).view({-1, 1, 1, 1});
    EXPECT_TRUE(mask.equal(RankMasks(per_layer, 0.5, {{node, score}})->at(node))) << node;
  }
}

// Ranks are often equal, and then the order decides: never more go than the rate says.
TEST(HrankTest, RefusesNoLimit) {
  const ReferenceNetwork reference;
  Hrank parameters;
  parameters.set_min_live_filters(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "min_live_filters");
}

TEST(HrankTest, RefusesNoImages) {
  const ReferenceNetwork reference;
  Hrank parameters;
  parameters.set_images(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "images");
}

}  // namespace
}  // namespace prunelab
