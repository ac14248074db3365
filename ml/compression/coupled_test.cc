// Dependency groups worked out by hand on small networks, and the same counts as Torch-Pruning
// (torch_pruning_values.h).
#include "ml/compression/coupled.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/torch_pruning_values.h"
#include "ml/execution/plan.h"
#include "ml/models/resnet_cifar.h"
#include "ml/models/resnet_imagenet.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using Filters = std::vector<std::pair<std::string, int64_t>>;

WeightedNetwork Initialized(const NetworkInfo& info) {
  Model model = Model::Create(info, at::kFloat, at::kCPU);
  InitializeParameters(model, 5);
  return *ToWeightedNetwork(model);
}

// Two convolutions meet in a sum; a depthwise one follows, then a flatten of two pixels.
Network Small() {
  NetworkWriter net;
  net.Image(2, 1, 2, "x");
  net.Conv("a", "x", {3, 1});
  net.Conv("b", "a", {3, 1, 1, 0, true});
  net.BatchNorm("bn", "b");
  net.Add("sum", {"a", "bn"});
  net.Conv("d", "sum", {3, 1, 1, 0, false, 3});
  net.Conv("c", "d", {4, 1});
  net.Flatten("flat", "c");
  net.Linear("fc", "flat", 2);
  return net.Take();
}

TEST(CoupledTest, GroupsFollowTheStructure) {
  const std::vector<ChannelGroup> groups = FindChannelGroups(*NetworkInfo::Create(Small()));
  ASSERT_EQ(groups.size(), 7);
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(groups[c].filters, (Filters{{"a", c}, {"b", c}, {"d", c}}));
  for (int64_t c = 0; c < 4; ++c) EXPECT_EQ(groups[3 + c].filters, (Filters{{"c", c}}));
}

// Channels 0 and 1 of the sum are a's, 2 to 4 are b's.
TEST(CoupledTest, ConcatTiesEachInputsChannels) {
  NetworkWriter net;
  net.Image(2, 2, 2);
  net.Conv("a", "image", {2, 1});
  net.Conv("b", "image", {3, 1});
  net.Append("cat", {"a", "b"})->mutable_concat();
  net.Add("sum", {"cat", net.Conv("d", "cat", {5, 1})});
  net.Classifier("fc", "sum", 2);
  WeightedNetwork network = Initialized(*NetworkInfo::Create(net.Take()));
  const std::vector<ChannelGroup> groups = FindChannelGroups(network.Info());
  ASSERT_EQ(groups.size(), 5);
  for (int64_t c = 0; c < 2; ++c) EXPECT_EQ(groups[c].filters, (Filters{{"a", c}, {"d", c}}));
  for (int64_t c = 0; c < 3; ++c) EXPECT_EQ(groups[2 + c].filters, (Filters{{"b", c}, {"d", 2 + c}}));
  network.tensors["b.weight"][1].zero_();
  network.tensors["d.weight"][3].zero_();
  const at::Tensor d = network.Get("d", "weight").clone();
  ASSERT_EQ(RemoveCoupled(network, {})->removed, 1);
  EXPECT_EQ(network.Info().shape("b").channels, 2);
  EXPECT_EQ(network.Info().shape("sum").channels, 4);
  const at::Tensor rest = at::tensor({0, 1, 2, 4}, at::kLong);
  EXPECT_TRUE(at::equal(network.Get("d", "weight"), d.index_select(0, rest).index_select(1, rest)));
}

TEST(CoupledTest, AGroupGoesWhenAllItsFiltersAreDead) {
  WeightedNetwork network = Initialized(*NetworkInfo::Create(Small()));
  const at::Tensor fc = network.Get("fc", "weight").clone();
  for (const char* node : {"a", "b", "d"}) network.tensors[absl::StrCat(node, ".weight")][1].zero_();
  network.tensors["a.weight"][2].zero_();  // its partners are live
  network.tensors["c.weight"][0].zero_();
  const absl::StatusOr<CoupledRemoval> removal = RemoveCoupled(network, {});
  ASSERT_TRUE(removal.ok()) << removal.status();
  EXPECT_EQ(removal->groups, 7);
  EXPECT_EQ(removal->removed, 2);
  const NetworkInfo info = network.Info();
  EXPECT_EQ(info.shape("sum").channels, 2);
  EXPECT_EQ(info.node(info.Index("d")).conv2d().groups(), 2);
  EXPECT_EQ(network.Get("b", "weight").sizes(), at::IntArrayRef({2, 2, 1, 1}));
  EXPECT_EQ(network.Get("bn", "running_var").sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(network.Get("c", "weight").sizes(), at::IntArrayRef({3, 2, 1, 1}));
  // Flattened, each channel of c is two features.
  EXPECT_TRUE(at::equal(network.Get("fc", "weight"), fc.slice(1, 2, 8)));
}

TEST(CoupledTest, ByMeanImportanceTheLeastGo) {
  WeightedNetwork network = Initialized(*NetworkInfo::Create(Small()));
  for (const char* node : {"a", "b", "d"}) {
    for (int64_t c = 0; c < 3; ++c) network.tensors[absl::StrCat(node, ".weight")][c].fill_(10 + c);
  }
  for (int64_t c = 0; c < 4; ++c) network.tensors["c.weight"][c].fill_(1 + c);
  network.tensors["b.weight"][2].zero_();  // mean of 12, 0 and 12: 8, below 10 and 11
  CoupledOptions options;
  options.rate = 0.72;  // int(0.72 * 7) = 5
  const absl::StatusOr<CoupledRemoval> removal = RemoveCoupled(network, options);
  ASSERT_TRUE(removal.ok());
  // The four of c and channel 2 of the stream, but c keeps its best one.
  EXPECT_EQ(removal->removed, 4);
  EXPECT_EQ(removal->kept, 1);
  EXPECT_EQ(network.Info().shape("c").channels, 1);
  EXPECT_EQ(network.Info().shape("sum").channels, 2);
  EXPECT_EQ(network.Get("c", "weight")[0][0].item<float>(), 4);
  for (const double rate : {1.0, -0.1, std::numeric_limits<double>::quiet_NaN()}) {
    options.rate = rate;
    EXPECT_TRUE(absl::StrContains(RemoveCoupled(network, options).status().message(), "at least 0 and below 1"));
  }
}

TEST(CoupledTest, CountsAreTorchPrunings) {
  for (const TorchPruningCounts& counts : kTorchPruningCounts) {
    SCOPED_TRACE(absl::StrCat(counts.family, " ", counts.parameters));
    absl::StatusOr<Network> built;
    if (absl::string_view(counts.family) == "ResNetCifar") {
      ResNetCifar parameters;
      ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(counts.parameters, &parameters));
      built = CreateResNetCifar(parameters, {});
    } else {
      ResNetImageNet parameters;
      ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(counts.parameters, &parameters));
      built = CreateResNetImageNet(parameters, {});
    }
    ASSERT_TRUE(built.ok()) << built.status();
    WeightedNetwork network = Initialized(*NetworkInfo::Create(*built));
    EXPECT_EQ(network.Info().ParameterCount(), counts.parameters_before);
    EXPECT_EQ(network.Info().MacCount(), counts.macs_before);
    for (const ChannelGroup& group : FindChannelGroups(network.Info())) {
      // The rule of tools/reference/torch_pruning_counts.py.
      for (const auto& [node, channel] : group.filters) {
        if (absl::StrContains(node, "downsample")) continue;
        if ((7 * channel + 3 * static_cast<int64_t>(node.size())) % 10 >= 4) break;
        for (const auto& [member, filter] : group.filters) {
          network.tensors[absl::StrCat(member, ".weight")][filter].zero_();
        }
        break;
      }
    }
    ASSERT_TRUE(RemoveCoupled(network, {}).ok());
    EXPECT_EQ(network.Info().ParameterCount(), counts.parameters_after);
    EXPECT_EQ(network.Info().MacCount(), counts.macs_after);
  }
}

TEST(CoupledTest, WhereDeadChannelsBringNothingTheFunctionStays) {
  ResNetCifar parameters;
  parameters.set_depth(14);
  parameters.set_width(4);
  parameters.set_image_size(8);
  Model model = Model::Create(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kDouble, at::kCPU);
  InitializeParameters(model, 3);  // BN shifts and means are zero: dead channels are zero everywhere
  for (const ChannelGroup& group : FindChannelGroups(model.info())) {
    if (group.filters.front().second % 3 != 0) continue;
    for (const auto& [node, filter] : group.filters) {
      model.Get(absl::StrCat(node, ".weight")).detach()[filter].zero_();
    }
  }
  WeightedNetwork network = *ToWeightedNetwork(model);
  ASSERT_TRUE(RemoveCoupled(network, {}).ok());
  Model small = ToModel(network, at::kCPU);
  EXPECT_LT(small.info().ParameterCount(), model.info().ParameterCount() / 2);
  const at::NoGradGuard no_gradients;
  const at::Tensor x = at::linspace(-2, 2, 2 * 3 * 64, at::kDouble).view({2, 3, 8, 8}).sin();
  ReferencePlan plan;
  const at::Tensor a = plan.Forward(model, x, {}).logits, b = plan.Forward(small, x, {}).logits;
  EXPECT_LT((a - b).abs().max().item<double>(), 1e-12);
}

}  // namespace
}  // namespace prunelab
