#include "ml/compression/group_losses.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "ml/base/field_error.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/coupled.h"
#include "ml/compression/group_loss_values.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/compression/without_groups.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The k-th number of a parameter is 0.4 sin(0.7 k + 0.3 * the length of its name), plus 1 in scales of batch norms, as
// in the generator of the values.
WeightedNetwork Filled(const Network& description) {
  Model model = Model::Create(*NetworkInfo::Create(description), at::kDouble, at::kCPU);
  for (const NamedTensor& parameter : model.parameters()) {
    at::Tensor numbers = at::arange(parameter.tensor.numel(), at::kDouble)
                             .mul(0.7)
                             .add(0.3 * static_cast<double>(parameter.name.size()))
                             .sin()
                             .mul(0.4);
    const std::string node(absl::StripSuffix(parameter.name, ".weight"));
    const int i = model.info().Index(node);
    if (i >= 0 && model.info().node(i).has_batch_norm2d()) numbers = numbers + 1;
    parameter.tensor.detach().copy_(numbers.view(parameter.tensor.sizes()));
  }
  return *ToWeightedNetwork(model);
}

ProbeBatch ImagesOf(int64_t channels, int64_t size, int64_t classes) {
  const at::Tensor k = at::arange(5 * channels * size * size, at::kDouble);
  return {k.mul(0.37).cos().view({5, channels, size, size}), at::arange(5, at::kLong).remainder(classes)};
}

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

struct Example {
  WeightedNetwork network;
  ProbeBatch images;
};

Example SmallResNet() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_width(4);
  ImageDefaults data;
  data.height = data.width = 8;
  return {Filled(*CreateResNetCifar(parameters, data)), ImagesOf(3, 8, 10)};
}

// The index of the set that the layer's filters are in.
size_t SetOf(const std::string& layer, const std::vector<ChannelGroup>& groups, const std::vector<GroupSet>& sets) {
  for (size_t s = 0; s < sets.size(); ++s) {
    for (const auto& [node, filter] : groups[sets[s].groups[0]].filters) {
      if (node == layer) return s;
    }
  }
  ADD_FAILURE() << layer;
  return 0;
}

TEST(GroupLossesTest, EqualAutogradsAndTorchPrunings) {
  const std::map<std::string, Example> examples = {{"ResNetCifar", SmallResNet()},
                                                   {"Flattened", {Filled(Flattened()), ImagesOf(2, 2, 2)}}};
  int compared = 0;
  for (const ReferenceGroupLosses& expected : ReferenceGroupLossValues()) {
    SCOPED_TRACE(absl::StrCat(expected.network, " ", expected.layer));
    const auto& [network, images] = examples.at(expected.network);
    const NetworkInfo info = network.Info();
    const ChannelGroups grouping(info);
    const std::vector<ChannelGroup>& groups = grouping.groups();
    const std::vector<GroupSet> sets = SetsOf(groups, info);
    const size_t set = SetOf(expected.layer, groups, sets);
    ASSERT_EQ(sets[set].groups.size(), expected.fisher.size());
    const ImageGradients gradients = GradientsOfImages(network, info, groups, images);
    const auto importances = [&](GroupRanking::Importance importance) {
      return *GroupImportances(network, info, groups, importance, 0, &gradients);
    };
    const std::vector<double> fisher = importances(GroupRanking::FISHER), hessian = importances(GroupRanking::HESSIAN);
    for (size_t c = 0; c < expected.fisher.size(); ++c) {
      const size_t group = sets[set].groups[c];
      EXPECT_NEAR(fisher[group], expected.fisher[c], 1e-9 * std::max(1.0, expected.fisher[c])) << c;
      EXPECT_NEAR(hessian[group], expected.hessian[c], 1e-9 * std::max(1.0, expected.hessian[c])) << c;
      ++compared;
    }
    const std::vector<SetLosses> losses =
        MeasureSetLosses(network, info, grouping, sets, importances(GroupRanking::GROUP_NORM), images, 3);
    EXPECT_EQ(losses[set].gone, expected.gone);
    ASSERT_EQ(losses[set].losses.size(), expected.losses.size());
    for (size_t k = 0; k < expected.losses.size(); ++k) {
      EXPECT_NEAR(losses[set].losses[k], expected.losses[k], 1e-9 * expected.losses[k]) << expected.gone[k];
    }
  }
  EXPECT_GT(compared, 60);
}

TEST(GroupLossesTest, ImportancesByLossRiseOnALine) {
  const std::vector<GroupSet> sets = {{{0, 1, 2, 3, 4}, ""}, {{5, 6}, ""}};
  const std::vector<double> importances = {3, 1, 2, 5, 4, 1, 0};
  // From 1 to 2 after two, then down, then up again.
  const std::vector<SetLosses> losses = {{{0, 2, 3, 4}, {1, 2, 1.5, 4}}, {{0, 1}, {1, 0.5}}};
  const std::vector<double> by_loss = ImportancesByLoss(importances, sets, losses);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_NEAR(by_loss[1], 0.5, 1e-8);
  EXPECT_NEAR(by_loss[2], 1, 1e-8);
  EXPECT_NEAR(by_loss[0], 1, 1e-8);
  EXPECT_GT(by_loss[0], by_loss[2]);  // a fall counts as what came before, and the order stays
  EXPECT_NEAR(by_loss[4], 3, 1e-8);
  EXPECT_EQ(by_loss[3], infinity);
  EXPECT_NEAR(by_loss[6], 0, 1e-8);
  EXPECT_GT(by_loss[6], 0);
  EXPECT_EQ(by_loss[5], infinity);
}

// What is counted by sets is what the network costs after the removal, whatever has gone.
TEST(GroupLossesTest, CostsAreThoseOfTheRemovedNetwork) {
  NetworkWriter net;
  net.Image(2, 6, 6, "x");
  net.Conv("a", "x", {4, 3, 1, 1, true});
  net.BatchNorm("bn", "a");
  net.Conv("grouped", "bn", {6, 3, 1, 1, false, 2});
  net.BatchNorm("bn2", "grouped");
  net.Conv("depthwise", "bn2", {6, 3, 1, 1, true, 6});
  net.Conv("pairs", "depthwise", {3, 3, 1, 1, true, 3});  // two inputs and an output for each of its groups
  net.Conv("multiplied", "pairs", {6, 3, 1, 1, false, 3});
  net.Classifier("fc", "multiplied", 2);
  int compared = 0;
  for (const WeightedNetwork& network : {SmallResNet().network, Filled(Flattened()), Filled(net.Take())}) {
    const NetworkInfo info = network.Info();
    const ChannelGroups grouping(info);
    const std::vector<ChannelGroup>& groups = grouping.groups();
    const std::vector<GroupSet> sets = SetsOf(groups, info);
    const SetCosts macs(info, grouping, sets, GroupRanking::MACS),
        parameters(info, grouping, sets, GroupRanking::PARAMETERS);
    for (int64_t trial = 0; trial < 20; ++trial) {
      std::vector<bool> goes(groups.size(), false);
      std::vector<int64_t> kept;
      for (size_t s = 0; s < sets.size(); ++s) {
        const auto n = static_cast<int64_t>(sets[s].groups.size());
        kept.push_back(n - (7 * trial + 3 * static_cast<int64_t>(s)) % n);
        for (int64_t k = kept.back(); k < n; ++k) goes[sets[s].groups[k]] = true;
      }
      const NetworkInfo smaller = WithoutGroups(network, info, grouping, goes).Info();
      EXPECT_NEAR(macs.Of(kept), static_cast<double>(smaller.MacCount()), 1e-9 * macs.Of(kept));
      EXPECT_NEAR(parameters.Of(kept), static_cast<double>(smaller.ParameterCount()), 1e-9 * parameters.Of(kept));
      for (size_t s = 0; s < sets.size(); ++s) {
        if (kept[s] == 1) continue;
        std::vector<int64_t> fewer = kept;
        --fewer[s];
        EXPECT_NEAR(macs.SavedBy(s, kept), macs.Of(kept) - macs.Of(fewer), 1e-9 * macs.Of(kept));
        ++compared;
      }
    }
  }
  EXPECT_GT(compared, 100);
}

// Two sets, of which each conv's cost is the other's channels: what has gone makes the next one cheaper.
TEST(GroupLossesTest, LossPerCostByHand) {
  NetworkWriter net;
  net.Image(1, 2, 2, "x");
  net.Conv("a", "x", {3, 1});
  net.Conv("b", "a", {4, 1});
  net.Classifier("fc", "b", 2);
  const WeightedNetwork network = Filled(net.Take());
  const NetworkInfo info = network.Info();
  const ChannelGroups grouping(info);
  const std::vector<GroupSet> sets = SetsOf(grouping.groups(), info);
  ASSERT_EQ(sets.size(), 2u);
  const SetCosts costs(info, grouping, sets, GroupRanking::MACS);
  // A channel of a is 4 pixels in a and 4 * 4 in b; one of b is 4 * 3 in b and 2 in fc.
  EXPECT_EQ(costs.SavedBy(0, {3, 4}), 4 + 16);
  EXPECT_EQ(costs.SavedBy(1, {3, 4}), 12 + 2);
  EXPECT_EQ(costs.SavedBy(1, {2, 4}), 8 + 2);
  // The loss of a rises by 2 and 2.2; that of b by 1, 1.5 and 3, of which the first measurement is above the curve.
  const std::vector<double> importances = {1, 2, 3, 4, 3, 2, 1};
  const std::vector<SetLosses> losses = {{{0, 1, 2}, {1, 3, 5.2}}, {{0, 1, 2, 3}, {1, 2.4, 3.5, 6.5}}};
  // b: slopes 1.25, 1.25 and 3. Ratios: 2 / 20 against 1.25 / 14: b's least goes. Then 2 / 16 against 1.25 / 14: b's
  // next. Then 2 / 12 against 3 / 14: a's. Then 2.2 / 12 against 3 / 10: a's.
  const std::vector<double> place = OrderByLossPerCost(importances, sets, losses, costs);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_THAT(place, ElementsAre(2, 3, infinity, infinity, 4, 1, 0));
}

// A group that costs twice as much goes first among equals.
TEST(GroupLossesTest, DividedByWhatTheyCost) {
  const Example example = SmallResNet();
  GroupRanking ranking;
  ranking.set_importance(GroupRanking::FISHER);
  const auto plain = RankedGroups::Create(example.network, ranking, 1, example.images);
  ASSERT_TRUE(plain.ok()) << plain.status();
  ranking.set_divided_by(GroupRanking::MACS);
  const auto divided = RankedGroups::Create(example.network, ranking, 1, example.images);
  ASSERT_TRUE(divided.ok()) << divided.status();
  const auto macs = [](const WeightedNetwork& network) { return network.Info().MacCount(); };
  EXPECT_LT(macs(*divided->Without(0.4)), macs(*plain->Without(0.4)));
}

// What goes is what the measured losses say.
TEST(GroupLossesTest, RanksByLoss) {
  const Example example = SmallResNet();
  const NetworkInfo info = example.network.Info();
  const ChannelGroups grouping(info);
  const std::vector<GroupSet> sets = SetsOf(grouping.groups(), info);
  GroupRanking ranking;
  ranking.set_importance(GroupRanking::GROUP_NORM);
  ranking.set_normalize(GroupRanking::LOSS);
  ranking.set_points(4);
  const std::vector<double> norms =
      *GroupImportances(example.network, info, grouping.groups(), GroupRanking::GROUP_NORM, 1);
  const std::vector<double> by_loss =
      ImportancesByLoss(norms, sets, MeasureSetLosses(example.network, info, grouping, sets, norms, example.images, 4));
  const auto ranked = RankedGroups::Create(example.network, ranking, 1, example.images);
  ASSERT_TRUE(ranked.ok()) << ranked.status();
  for (const double rate : {0.2, 0.5}) {
    CoupledRemoval removal;
    const auto without = ranked->Without(rate, &removal);
    ASSERT_TRUE(without.ok()) << without.status();
    const std::vector<bool> goes = GroupsThatGo(by_loss, sets, ranking, rate);
    EXPECT_EQ(removal.removed, std::count(goes.begin(), goes.end(), true));
    const WeightedNetwork expected = WithoutGroups(example.network, info, grouping, goes);
    ASSERT_EQ(without->tensors.size(), expected.tensors.size());
    for (const auto& [name, tensor] : expected.tensors) EXPECT_TRUE(at::equal(tensor, without->tensors.at(name)));
  }
}

TEST(GroupLossesTest, RankingsByImagesNeedImages) {
  const Example example = SmallResNet();
  GroupRanking ranking;
  ranking.set_importance(GroupRanking::FISHER);
  const auto refused = [&](const std::optional<ProbeBatch>& images) {
    return RankedGroups::Create(example.network, ranking, 1, images).status();
  };
  EXPECT_EQ(ErrorField(refused(std::nullopt)), "importance");
  EXPECT_THAT(std::string(refused(std::nullopt).message()), HasSubstr("FISHER, which looks at training images"));
  ranking.set_importance(GroupRanking::MEAN_ABS);
  ranking.set_normalize(GroupRanking::LOSS);
  EXPECT_EQ(ErrorField(refused(std::nullopt)), "normalize");
  ProbeBatch broken = example.images;
  broken.images = broken.images * std::numeric_limits<double>::infinity();
  EXPECT_EQ(ErrorField(refused(broken)), "normalize");
}

TEST(GroupLossesTest, FieldsWithoutAnEffectAreRefused) {
  const auto field = [](auto set) {
    GroupRanking ranking;
    set(ranking);
    return ErrorField(ValidateGroupRanking(ranking));
  };
  EXPECT_EQ(field([](GroupRanking& ranking) { ranking.set_images(10); }), "images");
  EXPECT_EQ(field([](GroupRanking& ranking) { ranking.set_points(10); }), "points");
  EXPECT_EQ(field([](GroupRanking& ranking) {
              ranking.set_importance(GroupRanking::HESSIAN);
              ranking.set_images(0);
            }),
            "images");
  EXPECT_EQ(field([](GroupRanking& ranking) {
              ranking.set_divided_by(GroupRanking::MACS);
              ranking.set_normalize(GroupRanking::GAUSSIAN);
            }),
            "divided_by");
  EXPECT_EQ(field([](GroupRanking& ranking) {
              ranking.set_divided_by(GroupRanking::MACS);
              ranking.set_scope(GroupRanking::PER_SET);
            }),
            "divided_by");
  EXPECT_EQ(field([](GroupRanking& ranking) {
              ranking.set_normalize(GroupRanking::LOSS);
              ranking.set_scope(GroupRanking::PER_SET);
            }),
            "normalize");
  EXPECT_EQ(field([](GroupRanking& ranking) {
              ranking.set_importance(GroupRanking::FISHER);
              ranking.set_divided_by(GroupRanking::MACS);
              ranking.set_images(16);
            }),
            "");
}

}  // namespace
}  // namespace prunelab
