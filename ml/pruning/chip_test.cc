#include "ml/pruning/chip.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/pruning/chip.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

TEST(ChipTest, IndependenceByHand) {
  // Rows (3, 4), (0, 0): |A|_* = 5, so 5 and 0. Orthogonal rows (3, 0), (0, 4): 3 and 4. Two equal rows (1, 0): one
  // singular value sqrt(2), 1 without either.
  const at::Tensor maps = at::tensor({3.0, 4.0, 0.0, 0.0, 3.0, 0.0, 0.0, 4.0, 1.0, 0.0, 1.0, 0.0}).view({3, 2, 1, 2});
  const double root = std::sqrt(2.0) - 1;
  EXPECT_TRUE(at::allclose(ChannelIndependence(maps.slice(0, 0, 1)), at::tensor({5.0, 0.0})));
  EXPECT_TRUE(at::allclose(ChannelIndependence(maps.slice(0, 1, 2)), at::tensor({3.0, 4.0})));
  EXPECT_TRUE(at::allclose(ChannelIndependence(maps), at::tensor({5 + 3 + root, 0 + 4 + root})));
}

TEST(ChipTest, IndependenceIsThatOfPyTorchsNuclearNorm) {
  const ReferenceNetwork reference;
  for (const auto& [node, maps] : reference.FeatureMaps()) {
    const at::Tensor mean = ChannelIndependence(maps) / 12;
    EXPECT_TRUE(AgreesWithReference(mean, reference.Value("chip." + node))) << node;
  }
}

TEST(ChipTest, TheSmallestOfEachLayerAreMasked) {
  const ReferenceNetwork reference;
  Chip parameters;
  parameters.set_rate(0.5);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  const MaskUpdate update = reference.FirstUpdate(*strategy);
  for (const auto& [node, mask] : update.masks) {
    Ranking per_layer;
    per_layer.set_scope(Ranking::PER_LAYER);
    const at::Tensor score = reference.Value("chip." + node).view({-1, 1, 1, 1});
    EXPECT_TRUE(mask.equal(RankMasks(per_layer, 0.5, {{node, score}})->at(node))) << node;
  }
}

TEST(ChipTest, RefusesNoImages) {
  const ReferenceNetwork reference;
  Chip parameters;
  parameters.set_images(-1);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "images");
}

}  // namespace
}  // namespace prunelab
