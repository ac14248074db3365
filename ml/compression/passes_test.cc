// Each pass by itself on networks of a few channels; values worked out by hand, functions compared in float64.

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/substitute.h"
#include "google/protobuf/text_format.h"
#include "ml/compression/channel_analysis.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/constant_inputs.h"
#include "ml/compression/constant_output.h"
#include "ml/compression/dead_blocks.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/kept_channels.h"
#include "ml/compression/shrink.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"

namespace prunelab {
namespace {

WeightedNetwork Random(const std::string& text, uint64_t seed = 1) {
  Network network;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network)) << text;
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(network);
  EXPECT_TRUE(info.ok()) << info.status() << text;
  return *ToWeightedNetwork(RandomModel(*info, at::kDouble, seed));
}

at::Tensor Logits(const WeightedNetwork& network) {
  const at::NoGradGuard no_gradients;
  Model model = ToModel(network, at::kCPU);
  const NodeShape& shape = model.info().input_shape();
  const at::Tensor x = at::linspace(-1, 1, 3 * shape.channels * shape.height * shape.width, at::kDouble)
                           .mul(231)
                           .sin()
                           .view({3, shape.channels, shape.height, shape.width});
  ReferencePlan plan;
  return plan.Forward(model, x, {}).logits.expand({3, -1}).clone();
}

void Kill(WeightedNetwork& network, const std::string& node, const std::vector<int64_t>& filters) {
  for (const int64_t filter : filters) network.tensors.at(node + ".weight")[filter].zero_();
}

void Set(WeightedNetwork& network, const std::string& name, const std::vector<double>& values) {
  network.tensors.at(name) = at::tensor(values, at::kDouble);
}

// The pass leaves the function as it is.
template <typename Pass>
void CheckExact(WeightedNetwork& network, Pass pass, const std::string& what = "") {
  const at::Tensor before = Logits(network);
  pass(network);
  const at::Tensor after = Logits(network);
  EXPECT_LE((before - after).abs().max().item<double>(), 1e-12 * (1 + before.abs().max().item<double>())) << what;
}

std::vector<std::string> Names(const WeightedNetwork& network) {
  std::vector<std::string> names;
  for (const Node& node : network.network.node()) names.push_back(node.name());
  return names;
}

std::vector<double> Row(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.to(at::kDouble).contiguous().view(-1);
  return std::vector<double>(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
}

constexpr char kTail[] = R"(
  node { name: "gap" input: "$0" global_average_pool {} } node { name: "flat" input: "gap" flatten {} }
  node { name: "fc" input: "flat" linear { out_features: 2 } })";

TEST(ChannelAnalysisTest, ConstantsThroughBatchNormReluPoolingAndSums) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 4 width: 4 } }
         node { name: "a" input: "x" conv2d { out_channels: 3 kernel_height: 1 kernel_width: 1 bias: true } }
         node { name: "bn" input: "a" batch_norm2d { epsilon: 1 } }
         node { name: "relu" input: "bn" relu {} }
         node { name: "max" input: "relu" max_pool2d { kernel: 3 stride: 1 padding: 1 } }
         node { name: "average" input: "max" average_pool2d { kernel: 3 stride: 1 padding: 1 } }
         node { name: "sum" input: "average" input: "relu" add {} })",
      absl::Substitute(kTail, "sum")));
  Kill(network, "a", {1, 2});
  Set(network, "a.bias", {7, 2, 2});
  Set(network, "bn.weight", {1, 3, -3});
  Set(network, "bn.bias", {0, 1, 1});
  Set(network, "bn.running_mean", {0, 0.5, 0.5});
  Set(network, "bn.running_var", {1, 3, 3});
  const ChannelAnalysis analysis(network);
  const auto constants = [&](const char* node) { return FullSize(analysis.constants[analysis.info.Index(node)]); };
  for (const char* node : {"a", "bn", "relu", "max", "average", "sum"}) {
    EXPECT_EQ(Row(analysis.live[analysis.info.Index(node)]), (std::vector<double>{1, 0, 0})) << node;
  }
  EXPECT_EQ(Row(constants("a")[1].mean()), std::vector<double>{2});
  // (2 - 0.5) / 2 * 3 + 1 = 3.25, and with -3: -1.25.
  EXPECT_TRUE(at::allclose(constants("bn")[1], at::full({4, 4}, 3.25, at::kDouble)));
  EXPECT_TRUE(at::allclose(constants("bn")[2], at::full({4, 4}, -1.25, at::kDouble)));
  EXPECT_TRUE(at::equal(constants("relu")[2], at::zeros({4, 4}, at::kDouble)));
  // Padding is no part of a maximum, but zeros of an average: 4, 6 or 9 of nine.
  EXPECT_TRUE(at::allclose(constants("max")[1], at::full({4, 4}, 3.25, at::kDouble)));
  EXPECT_NEAR(constants("average")[1][0][0].item<double>(), 3.25 * 4 / 9, 1e-12);
  EXPECT_NEAR(constants("average")[1][0][1].item<double>(), 3.25 * 6 / 9, 1e-12);
  EXPECT_NEAR(constants("average")[1][2][1].item<double>(), 3.25, 1e-12);
  EXPECT_NEAR(constants("sum")[1][3][3].item<double>(), 3.25 * 4 / 9 + 3.25, 1e-12);
  // Pictures hold equal rows once.
  EXPECT_EQ(analysis.constants[analysis.info.Index("average")].rows, (Runs{1, 2, 1}));
}

TEST(ChannelAnalysisTest, WhatNobodyReadsIsNotNeeded) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 2 width: 2 } }
         node { name: "a" input: "x" conv2d { out_channels: 3 kernel_height: 1 kernel_width: 1 } }
         node { name: "b" input: "a" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 } })",
      absl::Substitute(kTail, "b")));
  network.tensors.at("b.weight").select(1, 2).zero_();  // nobody reads filter 2 of a
  network.tensors.at("b.weight")[1][0].zero_();
  network.tensors.at("fc.weight").select(1, 0).zero_();  // nor filter 0 of b, so that only b's filter 1 counts
  const ChannelAnalysis analysis(network);
  EXPECT_EQ(Row(analysis.Kept(1)), (std::vector<double>{0, 1, 0}));
  EXPECT_EQ(Row(analysis.Kept(2)), (std::vector<double>{0, 1}));
}

TEST(ConstantInputsTest, ConvolutionsMeetConstants) {
  int folded = 0;
  for (const int kernel : {1, 2, 3}) {
    for (const int stride : {1, 2}) {
      for (const int padding : {0, 1, 2}) {
        for (const int dilation : {1, 2}) {
          for (const int groups : {1, 2}) {
            for (const int size : {5, 6}) {
              const std::string what = absl::StrCat("kernel ", kernel, ", stride ", stride, ", padding ", padding,
                                                    ", dilation ", dilation, ", groups ", groups, ", size ", size);
              WeightedNetwork network =
                  Random(absl::StrCat(absl::Substitute(
                                          R"(node { name: "x" image { channels: 2 height: $0 width: $0 } }
                         node { name: "a" input: "x" conv2d { out_channels: 4 kernel_height: 1
                                kernel_width: 1 bias: true } }
                         node { name: "b" input: "a" conv2d { out_channels: 6 kernel_height: $1 kernel_width: $1
                                stride: $2 padding: $3 dilation: $4 groups: $5 } }
                         node { name: "relu" input: "b" relu {} })",
                                          size, kernel, stride, padding, dilation, groups),
                                      absl::Substitute(kTail, "relu")));
              Kill(network, "a", {0, 3});
              CheckExact(network, FoldConstantInputs, what);
              const at::Tensor weight = network.Get("b", "weight");
              ++folded;
              if (groups > 1) {  // stays: its groups keep their dead inputs
                EXPECT_TRUE(weight.ne(0).all().item<bool>()) << what;
                EXPECT_FALSE(network.Has("b", "bias")) << what;
                EXPECT_EQ(network.Info().StoredConstantCount(), 0) << what;
                continue;
              }
              EXPECT_FALSE(weight.select(1, 0).ne(0).any().item<bool>()) << what;
              EXPECT_FALSE(weight.select(1, 3).ne(0).any().item<bool>()) << what;
              EXPECT_TRUE(weight.select(1, 1).ne(0).all().item<bool>()) << what;
              // Without padding it is a bias; else a constant of at most the border's pixels.
              const bool bias = network.Has("b", "bias");
              EXPECT_EQ(bias, padding == 0) << what;
              if (!bias) EXPECT_GT(network.Info().StoredConstantCount(), 0) << what;
            }
          }
        }
      }
    }
  }
  EXPECT_EQ(folded, 3 * 2 * 3 * 2 * 2 * 2);
}

TEST(ConstantInputsTest, NineNumbersForEachFilterBehindPadding) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 7 width: 7 } }
         node { name: "a" input: "x" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 bias: true } }
         node { name: "b" input: "a" conv2d { out_channels: 3 padding: 1 } })",
      absl::Substitute(kTail, "b")));
  Kill(network, "a", {1});
  network.tensors.at("b.weight")[2][1].zero_();  // this filter meets nothing
  CheckExact(network, FoldConstantInputs);
  EXPECT_EQ(network.Info().StoredConstantCount(), 2 * 9);
}

TEST(ConstantInputsTest, IntoTheLinearLayersBias) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 2 width: 2 } }
         node { name: "a" input: "x" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 bias: true } })",
      absl::Substitute(kTail, "a")));
  Kill(network, "a", {1});
  Set(network, "a.bias", {0, 0.5});
  const double weight = network.Get("fc", "weight")[0][1].item<double>();
  const double bias = network.Get("fc", "bias")[0].item<double>();
  CheckExact(network, FoldConstantInputs);
  EXPECT_NEAR(network.Get("fc", "bias")[0].item<double>(), bias + 0.5 * weight, 1e-14);
  EXPECT_EQ(network.Get("fc", "weight")[0][1].item<double>(), 0);
}

// A block without a shortcut's convolution: sum of x and bn(conv(relu)).
constexpr char kBlock[] = R"(
  node { name: "x" image { channels: 1 height: 5 width: 5 } }
  node { name: "stem" input: "x" conv2d { out_channels: 3 padding: 1 } }
  node { name: "relu0" input: "stem" relu {} }
  node { name: "conv1" input: "relu0" conv2d { out_channels: 4 padding: 1 } }
  node { name: "bn1" input: "conv1" batch_norm2d {} }
  node { name: "relu1" input: "bn1" relu {} }
  node { name: "conv2" input: "relu1" conv2d { out_channels: 3 padding: 1 } }
  node { name: "bn2" input: "conv2" batch_norm2d {} }
  node { name: "sum" input: "bn2" input: "relu0" add {} }
  node { name: "relu2" input: "sum" relu {} })";

TEST(DeadBlocksTest, ABlockWithoutLastFiltersLeavesItsConstants) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  Kill(network, "conv2", {0, 1, 2});
  CheckExact(network, DropDeadBlocks);
  const NetworkInfo info = network.Info();
  for (const char* gone : {"conv1", "bn1", "relu1", "conv2", "bn2"}) EXPECT_EQ(info.Index(gone), -1) << gone;
  EXPECT_EQ(info.StoredConstantCount(), 3);  // bn2's shift, one number a channel
}

TEST(DeadBlocksTest, ABlockThatBringsNothingIsGone) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  Kill(network, "conv2", {0, 1, 2});
  Set(network, "bn2.bias", {0, 0, 0});
  Set(network, "bn2.running_mean", {0, 0, 0});
  CheckExact(network, DropDeadBlocks);
  EXPECT_EQ(Names(network), (std::vector<std::string>{"x", "stem", "relu0", "gap", "flat", "fc"}));
}

TEST(DeadBlocksTest, NodesThatLeadNowhereGo) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 2 width: 2 } }
         node { name: "a" input: "x" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 } }
         node { name: "aside" input: "a" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 } })",
      absl::Substitute(kTail, "a")));
  CheckExact(network, DropUnusedNodes);
  EXPECT_EQ(Names(network), (std::vector<std::string>{"x", "a", "gap", "flat", "fc"}));
  EXPECT_EQ(network.tensors.count("aside.weight"), 0);
}

TEST(ConstantOutputTest, LogitsThatDependOnNoImage) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 2 height: 2 width: 2 } }
         node { name: "a" input: "x" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 bias: true } })",
      absl::Substitute(kTail, "a")));
  Kill(network, "a", {0, 1});
  const at::Tensor logits = Logits(network)[0];
  CheckExact(network, ReplaceConstantOutput);
  EXPECT_EQ(network.network.node_size(), 4);
  EXPECT_TRUE(at::allclose(network.Get("fc", "bias"), logits));
}

TEST(ShrinkTest, ABlockKeepsItsStreamAndScattersIntoIt) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  Kill(network, "stem", {0});
  Kill(network, "conv1", {0, 2});
  Kill(network, "conv2", {1});
  Set(network, "bn1.bias", {-9, 0.1, -9, 0.2});  // dead channels vanish in ReLU
  CheckExact(network, [](WeightedNetwork& n) { Shrink(n, 1); });
  EXPECT_EQ(network.Get("stem", "weight").sizes(), at::IntArrayRef({2, 1, 3, 3}));
  EXPECT_EQ(network.Get("conv1", "weight").sizes(), at::IntArrayRef({2, 3, 3, 3}));  // the stream's width
  EXPECT_EQ(network.Get("bn1", "running_mean").sizes(), at::IntArrayRef({2}));
  EXPECT_EQ(network.Get("conv2", "weight").sizes(), at::IntArrayRef({2, 2, 3, 3}));
  const NetworkInfo info = network.Info();
  const int scatter = info.Index("bn2.scatter");
  ASSERT_GE(scatter, 0);
  EXPECT_EQ(Row(at::tensor(std::vector<int64_t>(info.node(scatter).scatter().index().begin(),
                                                info.node(scatter).scatter().index().end()),
                           at::kLong)),
            (std::vector<double>{0, 2}));
  EXPECT_EQ(info.node(scatter).scatter().channels(), 3);
}

TEST(ShrinkTest, ChannelsAreRoundedUpToAMultiple) {
  for (const auto& [live, multiple, kept] :
       std::vector<std::tuple<int, int, int>>{{5, 1, 5}, {5, 4, 8}, {4, 4, 4}, {5, 8, 8}, {9, 8, 10}, {1, 3, 3}}) {
    WeightedNetwork network = Random(absl::StrCat(
        R"(node { name: "x" image { channels: 1 height: 4 width: 4 } }
           node { name: "a" input: "x" conv2d { out_channels: 10 } }
           node { name: "bn" input: "a" batch_norm2d {} }
           node { name: "relu" input: "bn" relu {} }
           node { name: "b" input: "relu" conv2d { out_channels: 2 kernel_height: 1 kernel_width: 1 } })",
        absl::Substitute(kTail, "b")));
    for (int64_t filter = live; filter < 10; ++filter) Kill(network, "a", {filter});
    FoldConstantInputs(network);
    CheckExact(network, [multiple = multiple](WeightedNetwork& n) { Shrink(n, multiple); });
    EXPECT_EQ(network.Info().shape("a").channels, kept) << live << " to a multiple of " << multiple;
  }
}

TEST(ShrinkTest, GroupedConvolutionsLoseWholeGroups) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 4 width: 4 } }
         node { name: "a" input: "x" conv2d { out_channels: 6 } }
         node { name: "d" input: "a" conv2d { out_channels: 6 kernel_height: 1 kernel_width: 1 groups: 3 } })",
      absl::Substitute(kTail, "d")));
  Kill(network, "a", {2, 3, 4});  // the middle group, and half of the last
  Kill(network, "d", {2, 3});
  CheckExact(network, [](WeightedNetwork& n) {
    FoldConstantInputs(n);
    Shrink(n, 1);
  });
  EXPECT_EQ(network.Info().node(network.Info().Index("d")).conv2d().groups(), 2);
  EXPECT_EQ(network.Get("d", "weight").sizes(), at::IntArrayRef({4, 2, 1, 1}));
  EXPECT_EQ(network.Get("a", "weight").sizes(), at::IntArrayRef({4, 1, 3, 3}));
}

TEST(FoldBatchNormTest, IntoTheConvolutionBefore) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  const double weight = network.Get("conv1", "weight")[2][1][0][2].item<double>();
  const double scale = network.Get("bn1", "weight")[2].item<double>() /
                       std::sqrt(network.Get("bn1", "running_var")[2].item<double>() + 1e-5);
  CheckExact(network, FoldBatchNorm);
  EXPECT_EQ(network.Info().Index("bn1"), -1);
  EXPECT_EQ(network.Info().Index("bn2"), -1);
  EXPECT_NEAR(network.Get("conv1", "weight")[2][1][0][2].item<double>(), weight * scale, 1e-14);
}

TEST(FoldBatchNormTest, NotWhereOthersReadTheConvolution) {
  WeightedNetwork network = Random(absl::StrCat(
      R"(node { name: "x" image { channels: 1 height: 4 width: 4 } }
         node { name: "a" input: "x" conv2d { out_channels: 2 } }
         node { name: "bn" input: "a" batch_norm2d {} }
         node { name: "sum" input: "bn" input: "a" add {} })",
      absl::Substitute(kTail, "sum")));
  CheckExact(network, FoldBatchNorm);
  EXPECT_GE(network.Info().Index("bn"), 0);
}

TEST(FoldBatchNormTest, AcrossAStoredConstant) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  Kill(network, "conv1", {1});
  CheckExact(network, FoldConstantInputs);  // conv2 -> sum with a constant -> bn2
  CheckExact(network, FoldBatchNorm);
  EXPECT_EQ(network.Info().Index("bn2"), -1);
}

TEST(PassManagerTest, SaysWhatEachPassSaved) {
  WeightedNetwork network = Random(absl::StrCat(kBlock, absl::Substitute(kTail, "relu2")));
  Kill(network, "conv1", {1, 2});
  const NetworkInfo before = network.Info();
  std::vector<PassSaving> savings;
  CheckExact(network, [&](WeightedNetwork& n) { savings = Compress(n, {}); });
  const NetworkInfo after = network.Info();
  int64_t parameters = 0, macs = 0, nodes = 0;
  for (const PassSaving& saving : savings) {
    parameters += saving.parameters;
    macs += saving.macs;
    nodes += saving.nodes;
    EXPECT_TRUE(saving.parameters != 0 || saving.macs != 0 || saving.nodes != 0) << saving.pass;
  }
  EXPECT_EQ(parameters, before.ParameterCount() - after.ParameterCount() - after.StoredConstantCount());
  EXPECT_EQ(macs, before.MacCount() - after.MacCount());
  EXPECT_EQ(nodes, before.network().node_size() - after.network().node_size());
  EXPECT_EQ(macs, 25 * 9 * (2 * 3 + 3 * 2));  // conv1 lost two outputs of three inputs, conv2 two inputs
  EXPECT_TRUE(std::any_of(savings.begin(), savings.end(), [](const PassSaving& s) { return s.pass == "shrink"; }));
  // A second time nothing is left to do.
  EXPECT_TRUE(Compress(network, {}).empty());
}

}  // namespace
}  // namespace prunelab
