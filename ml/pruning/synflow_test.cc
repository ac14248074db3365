#include "ml/pruning/synflow.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/synflow.pb.h"
#include "ml/pruning/testing/reference_network.h"

namespace prunelab {
namespace {

TEST(SynflowTest, ScoresAreThoseOfPyTorch) {
  const ReferenceNetwork reference;
  const auto layers = reference.Layers(Granularity::kWeight);
  const auto scores = SynflowScores(reference.probe(), layers, {});
  for (const PrunableLayer& layer : layers) {
    EXPECT_TRUE(AgreesWithReference(scores.at(layer.node), reference.Value("synflow." + layer.node))) << layer.node;
  }
}

TEST(SynflowTest, MasksAfterAHundredRoundsAreThoseOfPyTorchAndNumpy) {
  const ReferenceNetwork reference;
  Synflow parameters;
  parameters.set_rate(0.9);
  const auto strategy = *CreatePruningStrategy(parameters, reference.Setup());
  for (const auto& [node, mask] : reference.FirstUpdate(*strategy).masks) {
    EXPECT_TRUE(mask.equal(reference.Value("synflow_mask." + node))) << node;
  }
}

// Eleven layers, every other one of a 1x1 kernel, whose weights start larger than a 3x3 kernel's.
TEST(SynflowTest, NoLayerDiesAtNinetyNinePercentWhereMagnitudeLosesSome) {
  NetworkWriter net;
  std::string x = net.Image(3, 6, 6);
  for (int i = 0; i < 11; ++i) {
    const int64_t kernel = i % 2 == 0 ? 3 : 1;
    x = net.Conv(absl::StrCat("conv", i), x, {32, kernel, 1, kernel / 2});
    x = net.Relu(absl::StrCat("relu", i), net.BatchNorm(absl::StrCat("bn", i), x));
  }
  net.Classifier("fc", x, 10);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  const ModelProbe probe(model, nullptr, nullptr, 1);
  std::vector<PrunableLayer> layers;
  std::vector<RankedLayer> magnitudes;
  for (const ConvInfo& conv : model.info().convs()) {
    const at::Tensor weight = model.Get(absl::StrCat(conv.node, ".weight")).detach();
    layers.push_back({conv.node, weight, at::ones_like(weight), {}});
    magnitudes.push_back({conv.node, weight.abs()});
  }
  const auto dead = [](const std::map<std::string, at::Tensor>& masks) {
    int count = 0;
    for (const auto& [node, mask] : masks) count += mask.any().item<bool>() ? 0 : 1;
    return count;
  };
  EXPECT_GT(dead(*RankMasks({}, 0.99, magnitudes)), 0);

  Synflow parameters;
  parameters.set_rate(0.99);
  PruningSetup setup;
  setup.network = &model.info();
  const auto strategy = *CreatePruningStrategy(parameters, setup);
  strategy->Attach(probe);
  const auto update = *strategy->Update({}, layers);
  ASSERT_TRUE(update.has_value());
  EXPECT_EQ(update->masks.size(), 11);
  EXPECT_EQ(dead(update->masks), 0);
  // And what is left is connected from end to end.
  const auto scores = SynflowScores(probe, layers, update->masks);
  for (const auto& [node, score] : scores) EXPECT_GT(score.sum().item<double>(), 0) << node << " has no flow left";
}

TEST(SynflowTest, RefusesNoRounds) {
  const ReferenceNetwork reference;
  Synflow parameters;
  parameters.set_rounds(0);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, reference.Setup()).status()), "rounds");
}

}  // namespace
}  // namespace prunelab
