#include "ml/pruning/grasp.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"
#include "ml/pruning/grasp.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

TEST(GraspTest, ScoresAreThoseOfPyTorch) {
  const ReferenceNetwork reference;
  const auto layers = reference.Layers(Granularity::kWeight);
  const at::Tensor images = reference.Images(), labels = reference.Value("labels");
  const std::vector<ProbeBatch> halves = {{images.slice(0, 0, 6), labels.slice(0, 0, 6)},
                                          {images.slice(0, 6, 12), labels.slice(0, 6, 12)}};
  const auto scores = GraspScores(reference.probe(), layers, halves, 200);
  for (const PrunableLayer& layer : layers) {
    EXPECT_TRUE(AgreesWithReference(scores.at(layer.node), reference.Value("grasp." + layer.node))) << layer.node;
  }
}

TEST(GraspTest, HalvesHaveEveryClass) {
  const ReferenceNetwork reference;
  const std::vector<ProbeBatch> halves = *GraspBatches(reference.probe(), 2);
  ASSERT_EQ(halves.size(), 2);
  for (const ProbeBatch& half : halves) {
    EXPECT_TRUE(half.labels.equal(at::arange(4)));
    EXPECT_EQ(half.images.size(0), 4);
  }
  // All that there are: 3 of each of 4 classes.
  EXPECT_EQ((*GraspBatches(reference.probe(), 50))[1].labels.size(0), 6);
}

TEST(GraspTest, TheLargestScoresAreMasked) {
  const ReferenceNetwork reference;
  Grasp parameters;
  parameters.set_rate(0.7);
  parameters.set_images_per_class(2);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  const MaskUpdate update = reference.FirstUpdate(*strategy);
  const auto scores =
      GraspScores(reference.probe(), reference.Layers(Granularity::kWeight), *GraspBatches(reference.probe(), 2), 200);
  double largest_live = -1e30, smallest_masked = 1e30;
  for (const auto& [node, mask] : update.masks) {
    largest_live = std::max(largest_live, at::where(mask.gt(0), scores.at(node), -1e30).max().item<double>());
    smallest_masked = std::min(smallest_masked, at::where(mask.gt(0), 1e30, scores.at(node)).min().item<double>());
  }
  EXPECT_LT(largest_live, smallest_masked);
}

TEST(GraspTest, RefusesWhatItCannotRank) {
  const ReferenceNetwork reference;
  Grasp parameters;
  parameters.mutable_ranking()->set_scope(Ranking::GLOBAL_LAMP);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "ranking.scope");
  parameters.clear_ranking();
  parameters.set_temperature(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "temperature");
}

// BN by the statistics of a half, which has no gradient where it sees one value a channel.
TEST(GraspTest, HalvesOfOneImageNeedMapsOfMorePixels) {
  for (const int64_t size : {1, 2}) {
    NetworkWriter net;
    const std::string conv = net.Conv("conv", net.Image(1, size, size), {2, 1, 1, 0});
    net.Classifier("fc", net.BatchNorm("bn", conv), 3);
    const NetworkInfo network = *NetworkInfo::Create(net.Take());
    PruningSetup setup;
    setup.network = &network;
    Grasp parameters;
    parameters.set_images_per_class(1);
    const absl::Status status = CreatePruningStrategy(parameters, setup).status();
    EXPECT_EQ(status.ok(), size == 2) << status;
    if (size == 1) {
      EXPECT_EQ(ErrorField(status), "images_per_class");
      EXPECT_EQ(ErrorText(status),
                "is 1, of 3 classes; must be 2 or more, so that each of the two batches has 2, which a batch norm of "
                "maps of 1x1 pixel needs");
    }
    parameters.set_images_per_class(2);
    EXPECT_TRUE(CreatePruningStrategy(parameters, setup).ok());
  }
}

}  // namespace
}  // namespace prunelab
