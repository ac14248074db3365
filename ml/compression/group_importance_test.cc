#include "ml/compression/group_importance.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/group_importance_values.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Every parameter's k-th number is sin(0.7 k + 0.3 * the length of its name), as in the generator of the values.
WeightedNetwork Filled(const Network& description) {
  Model model = Model::Create(*NetworkInfo::Create(description), at::kDouble, at::kCPU);
  for (const NamedTensor& parameter : model.parameters()) {
    const at::Tensor numbers = at::arange(parameter.tensor.numel(), at::kDouble)
                                   .mul(0.7)
                                   .add(0.3 * static_cast<double>(parameter.name.size()))
                                   .sin();
    parameter.tensor.detach().copy_(numbers.view(parameter.tensor.sizes()));
  }
  return *ToWeightedNetwork(model);
}

Network SmallResNet() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_width(4);
  return *CreateResNetCifar(parameters, {});
}

// Each channel of conv is four features of fc1.
Network Flattened() {
  NetworkWriter net;
  net.Image(2, 2, 2, "x");
  net.Conv("conv", "x", {3, 3, 1, 1, true});
  net.BatchNorm("bn", "conv");
  net.Relu("relu1", "bn");
  net.Flatten("flat", "relu1");
  net.Linear("fc1", "flat", 5);
  net.Relu("relu2", "fc1");
  net.Linear("fc2", "relu2", 2);
  return net.Take();
}

GroupRanking::Importance ImportanceOf(const std::string& word) {
  GroupRanking::Importance importance = GroupRanking::MEAN_ABS;
  EXPECT_TRUE(GroupRanking::Importance_Parse(word, &importance)) << word;
  return importance;
}

GroupRanking::Normalize NormalizeOf(const std::string& word) {
  GroupRanking::Normalize normalize = GroupRanking::NONE;
  EXPECT_TRUE(GroupRanking::Normalize_Parse(word, &normalize)) << word;
  return normalize;
}

TEST(GroupImportanceTest, EqualsTorchPrunings) {
  const std::map<std::string, WeightedNetwork> networks = {{"ResNetCifar", Filled(SmallResNet())},
                                                           {"Flattened", Filled(Flattened())}};
  int compared = 0;
  for (const TorchPruningImportances& theirs : GroupImportanceValues()) {
    SCOPED_TRACE(absl::StrCat(theirs.network, " ", theirs.importance, " ", theirs.normalize, " ", theirs.layer));
    const WeightedNetwork& network = networks.at(theirs.network);
    const NetworkInfo info = network.Info();
    // The layer's own groups: the first layer of Flattened has a batch norm, its second has none.
    std::vector<ChannelGroup> groups;
    for (const ChannelGroup& group : FindChannelGroups(info)) {
      const bool of_layer = std::any_of(group.filters.begin(), group.filters.end(),
                                        [&](const auto& filter) { return filter.first == theirs.layer; });
      if (of_layer) groups.push_back(group);
    }
    ASSERT_EQ(groups.size(), theirs.values.size());
    const auto importances = GroupImportances(network, info, groups, ImportanceOf(theirs.importance), 0);
    ASSERT_TRUE(importances.ok()) << importances.status();
    const std::vector<GroupSet> sets = SetsOf(groups, info);
    EXPECT_EQ(sets.size(), 1u);
    const std::vector<double> ours = NormalizedImportances(*importances, sets, NormalizeOf(theirs.normalize));
    // Theirs are added up in float32, and differences of near numbers show that.
    const double tolerance = theirs.normalize == std::string("GAUSSIAN") ? 1e-4 : 2e-6;
    for (size_t c = 0; c < ours.size(); ++c) {
      EXPECT_NEAR(ours[c], theirs.values[c], tolerance * std::max(1.0, std::abs(ours[c]))) << c;
      ++compared;
    }
  }
  EXPECT_GT(compared, 300);
}

// Groups of two inputs and three outputs each, and a depthwise convolution on them: sums by loops over single weights.
TEST(GroupImportanceTest, GroupedConvolutionsByHand) {
  NetworkWriter net;
  net.Image(2, 3, 3, "x");
  net.Conv("a", "x", {4, 1});
  net.BatchNorm("bn", "a");
  net.Conv("grouped", "bn", {6, 3, 1, 1, false, 2});
  net.BatchNorm("bn2", "grouped");
  net.Conv("depthwise", "bn2", {6, 3, 1, 1, false, 6});
  net.Classifier("fc", "depthwise", 2);
  const WeightedNetwork network = Filled(net.Take());
  const NetworkInfo info = network.Info();
  const std::vector<ChannelGroup> groups = FindChannelGroups(info);
  ASSERT_EQ(groups.size(), 5u);  // pairs of a's channels, and pairs of the grouped one's
  const auto ours = GroupImportances(network, info, groups, GroupRanking::GROUP_NORM, 0);
  ASSERT_TRUE(ours.ok()) << ours.status();
  const auto by_scale = GroupImportances(network, info, groups, GroupRanking::BATCH_NORM_SCALE, 0);
  ASSERT_TRUE(by_scale.ok()) << by_scale.status();
  const at::Tensor a = network.Get("a", "weight"), grouped = network.Get("grouped", "weight"),
                   depthwise = network.Get("depthwise", "weight"), fc = network.Get("fc", "weight");
  const at::Tensor scale = network.Get("bn", "weight"), scale2 = network.Get("bn2", "weight");
  const auto squares = [](const at::Tensor& part) { return part.square().sum().item<double>(); };
  for (int64_t c = 0; c < 2; ++c) {
    const double filters = squares(a[c]) + squares(a[2 + c]);
    double readers = 0;
    for (int64_t out = 0; out < 6; ++out) readers += squares(grouped[out][c]);
    const double norms = squares(scale[c]) + squares(scale[2 + c]);
    EXPECT_NEAR((*ours)[c], (filters + readers + norms) / 3 / 2, 1e-12);
    EXPECT_NEAR((*by_scale)[c], (scale[c].abs() + scale[2 + c].abs()).item<double>() / 2, 1e-12);
  }
  for (int64_t c = 0; c < 3; ++c) {
    double sum = 0;
    for (const int64_t out : {c, 3 + c})
      sum += squares(grouped[out]) + squares(depthwise[out]) + squares(scale2[out]) + squares(fc.select(1, out));
    EXPECT_NEAR((*ours)[2 + c], sum / 4 / 2, 1e-12);
  }
}

// Two sets of four, of the same kinds, and one of two.
struct ThreeSets {
  std::vector<GroupSet> sets = {{{0, 1, 2, 3}, "conv"}, {{4, 5, 6, 7}, "conv"}, {{8, 9}, "linear"}};
  std::vector<double> importances = {1, 2, 3, 4, 10, 20, 30, 40, 5, 0};
};

std::vector<size_t> Gone(const GroupRanking& ranking, double rate) {
  const ThreeSets three;
  const std::vector<bool> goes = GroupsThatGo(three.importances, three.sets, ranking, rate);
  std::vector<size_t> gone;
  for (size_t g = 0; g < goes.size(); ++g) {
    if (goes[g]) gone.push_back(g);
  }
  return gone;
}

TEST(GroupsThatGoTest, OfEachScope) {
  GroupRanking ranking;
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre(0, 1, 2, 3, 9));
  EXPECT_THAT(Gone(ranking, 0), ElementsAre());
  ranking.set_scope(GroupRanking::PER_SET);
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre(0, 1, 4, 5, 9));
  // 1.96 of four, and 0.98 of two: the second and the third set lose what the first does not.
  EXPECT_THAT(Gone(ranking, 0.49), ElementsAre(0, 4, 5, 9));
  ranking.set_scope(GroupRanking::ISOMORPHIC);
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre(0, 1, 2, 3, 9));
  EXPECT_THAT(Gone(ranking, 0.63), ElementsAre(0, 1, 2, 3, 4, 9));
}

TEST(GroupsThatGoTest, LimitsKeepTheMostImportant) {
  GroupRanking ranking;
  ranking.set_max_rate(0.5);
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre(0, 1, 9));
  ranking.set_max_rate(0);
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre());
  ranking.clear_max_rate();
  ranking.set_round(2);
  ranking.set_scope(GroupRanking::PER_SET);
  EXPECT_THAT(Gone(ranking, 0.3), ElementsAre());            // 3 of 4 round up to 4
  EXPECT_THAT(Gone(ranking, 0.8), ElementsAre(0, 1, 4, 5));  // 1 of 4 to 2, 1 of 2 to the whole set
  ranking.set_round(3);
  EXPECT_THAT(Gone(ranking, 0.5), ElementsAre(0, 4));  // 2 to 3, and 1 of 2 to 2, which is all
  ranking.set_round(100);
  EXPECT_THAT(Gone(ranking, 0.9), ElementsAre());
}

TEST(GroupImportanceTest, NormalizedSetsOfZerosAndOfEqualsAreZero) {
  const std::vector<GroupSet> sets = {{{0, 1}, ""}, {{2, 3}, ""}, {{4}, ""}};
  const std::vector<double> importances = {0, 0, 2, 2, 3};
  for (const GroupRanking::Normalize normalize : {GroupRanking::MEAN, GroupRanking::MAX, GroupRanking::LAMP}) {
    const std::vector<double> values = NormalizedImportances(importances, sets, normalize);
    EXPECT_EQ(values[0], 0);
    EXPECT_EQ(values[1], 0);
    EXPECT_EQ(values[4], 1);
    for (const double value : values) EXPECT_TRUE(std::isfinite(value));
  }
  EXPECT_THAT(NormalizedImportances(importances, sets, GroupRanking::GAUSSIAN), ElementsAre(0, 0, 0, 0, 0));
  EXPECT_THAT(NormalizedImportances(importances, sets, GroupRanking::NONE), ElementsAre(0, 0, 2, 2, 3));
}

TEST(GroupImportanceTest, RandomFollowsTheSeedAlone) {
  const WeightedNetwork network = Filled(SmallResNet());
  const NetworkInfo info = network.Info();
  const std::vector<ChannelGroup> groups = FindChannelGroups(info);
  const auto of_seed = [&](uint64_t seed) {
    return *GroupImportances(network, info, groups, GroupRanking::RANDOM, seed);
  };
  EXPECT_EQ(of_seed(1), of_seed(1));
  EXPECT_NE(of_seed(1), of_seed(2));
  const std::vector<double> values = of_seed(1);
  for (const double value : values) EXPECT_TRUE(value >= 0 && value < 1) << value;
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());  // no two groups share a number
}

TEST(GroupImportanceTest, SetsAndTheirKinds) {
  const NetworkInfo info = *NetworkInfo::Create(SmallResNet());
  const std::vector<GroupSet> sets = SetsOf(FindChannelGroups(info), info);
  // Three streams and the inner channels of three blocks.
  ASSERT_EQ(sets.size(), 6u);
  std::map<std::string, int> by_kinds;
  for (const GroupSet& set : sets) ++by_kinds[set.kinds];
  EXPECT_EQ(by_kinds["batch_norm2d batch norms, conv2d filters, conv2d readers"], 3);
  EXPECT_EQ(by_kinds.size(), 4u);
}

TEST(GroupImportanceTest, WhatCannotBeRankedIsRefused) {
  const WeightedNetwork network = Filled(Flattened());
  CoupledOptions options;
  options.rate = 0.5;
  options.ranking.set_importance(GroupRanking::BATCH_NORM_SCALE);
  WeightedNetwork copy = network;
  EXPECT_THAT(std::string(RemoveCoupled(copy, options).status().message()),
              HasSubstr("no batch norm reads the channels that are tied to filter 0 of fc1"));
  options.ranking.set_importance(GroupRanking::GROUP_NORM);
  options.rate = std::nullopt;
  EXPECT_THAT(std::string(RemoveCoupled(copy, options).status().message()), HasSubstr("goes with a rate"));
  GroupRanking ranking;
  EXPECT_TRUE(ValidateGroupRanking(ranking).ok());
  ranking.set_max_rate(1.5);
  EXPECT_EQ(ErrorField(ValidateGroupRanking(ranking)), "max_rate");
  ranking.clear_max_rate();
  ranking.set_round(0);
  EXPECT_EQ(ErrorField(ValidateGroupRanking(ranking)), "round");
}

// What is removed is what the ranking says: the widths of a network pruned to multiples of 4.
TEST(GroupImportanceTest, RemovalFollowsTheRanking) {
  ResNetCifar parameters;
  parameters.set_depth(14);
  WeightedNetwork network = Filled(*CreateResNetCifar(parameters, {}));
  CoupledOptions options;
  options.rate = 0.6;
  options.ranking.set_importance(GroupRanking::GROUP_NORM);
  options.ranking.set_normalize(GroupRanking::MEAN);
  options.ranking.set_scope(GroupRanking::PER_SET);
  options.ranking.set_round(4);
  ASSERT_TRUE(RemoveCoupled(network, options).ok());
  const NetworkInfo info = network.Info();
  // 16, 32 and 64 keep 6.4, 12.8 and 25.6, or up to one less.
  std::set<int64_t> widths;
  for (const ConvInfo& conv : info.convs()) widths.insert(info.shape(info.Index(conv.node)).channels);
  for (const int64_t width : widths) {
    EXPECT_TRUE(width == 8 || width == 12 || width == 16 || width == 28) << width;
  }
  EXPECT_GE(widths.size(), 3u);
}

}  // namespace
}  // namespace prunelab
