#include "ml/pruning/layer_ranking.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

TEST(LayerRankingTest, RanksTheChosenLayersOnly) {
  LayerRankingOptions options;
  options.layers.set_include("block*");
  options.layers.set_exclude("*.downsample");
  const LayerRanking ranking = *LayerRanking::Create(options, ExampleNetwork());
  const std::map<std::string, at::Tensor> masks = *ranking.Masks(0.5, ExampleLayers(Granularity::kFilter, 1));
  ASSERT_EQ(masks.size(), 2u);
  EXPECT_TRUE(masks.count("block.conv1") && masks.count("block.conv2"));
  EXPECT_EQ(MaskedCount(masks), 11);  // int(20 * 0.5) + 1
}

TEST(LayerRankingTest, UsesTheScores) {
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  LayerRankingOptions options;
  options.scores = ImportanceScores(Importance::GRADIENT);
  options.ranking.set_scope(Ranking::PER_LAYER);
  const LayerRanking ranking = *LayerRanking::Create(options, ExampleNetwork());
  EXPECT_TRUE(ranking.needs_gradients());
  layers[0].gradient = at::arange(8, at::kFloat).reshape({8, 1, 1, 1}).expand_as(layers[0].weight).neg();
  const at::Tensor mask = ranking.Masks(0.5, layers)->at("stem");
  EXPECT_TRUE(at::equal(mask.reshape({-1}), at::tensor({0.f, 0.f, 0.f, 0.f, 0.f, 1.f, 1.f, 1.f})));
}

TEST(LayerRankingTest, DivergedWeightsNameTheLayer) {
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  layers[2].weight[3].fill_(std::nan(""));
  const absl::Status status = LayerRanking::Create({}, ExampleNetwork())->Masks(0.5, layers).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr("block.conv2: 1 of 8"));
}

TEST(LayerRankingTest, ErrorsAreOfTheSharedFields) {
  LayerRankingOptions options;
  options.layers.set_include("fc");
  EXPECT_EQ(ErrorField(LayerRanking::Create(options, ExampleNetwork()).status()), "layers.include");
  options.layers.Clear();
  options.ranking.set_max_rate(2);
  EXPECT_EQ(ErrorField(LayerRanking::Create(options, ExampleNetwork()).status()), "ranking.max_rate");
}

}  // namespace
}  // namespace prunelab
