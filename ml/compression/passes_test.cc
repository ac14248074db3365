// Tests each pass by itself on networks of a few channels: values are worked out by hand, functions are compared in
// float64.

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/compression/channel_analysis.h"
#include "ml/compression/compress.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/constant_inputs.h"
#include "ml/compression/constant_output.h"
#include "ml/compression/coupled.h"
#include "ml/compression/dead_blocks.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/joined_channels.h"
#include "ml/compression/kept_channels.h"
#include "ml/compression/placing_convolutions.h"
#include "ml/compression/shrink.h"
#include "ml/compression/testing/random_models.h"
#include "ml/execution/plan.h"
#include "ml/network/compactors.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

void FoldInputs(WeightedNetwork& network, const ChannelLayout& layout) {
  FoldConstantInputs(network, ChannelAnalysis(network), layout);
}
void FoldPlainInputs(WeightedNetwork& network) { FoldInputs(network, {}); }
void ShrinkTo(WeightedNetwork& network, const ChannelLayout& layout) {
  Shrink(network, ChannelAnalysis(network), layout);
}
void DropBlocks(WeightedNetwork& network) { DropDeadBlocks(network, ChannelAnalysis(network)); }
void ReplaceOutput(WeightedNetwork& network) { ReplaceConstantOutput(network, ChannelAnalysis(network)); }

WeightedNetwork Random(const Network& network, uint64_t seed = 1) {
  absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(network);
  EXPECT_TRUE(info.ok()) << info.status() << network.DebugString();
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

// The pass does not change the function.
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

// With a classifier of two classes after `input`.
Network Classified(NetworkWriter net, const std::string& input) {
  net.Linear("fc", net.Flatten("flat", net.GlobalAveragePool("gap", input)), 2);
  return net.Take();
}

TEST(ChannelAnalysisTest, ConstantsThroughBatchNormReluPoolingAndSums) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {3, 1, 1, 0, true});
  net.BatchNorm("bn", "a", 1);
  net.Relu("relu", "bn");
  net.MaxPool("max", "relu", 3, 1, 1);
  net.AveragePool("average", "max", 3, 1, 1);
  net.Add("sum", {"average", "relu"});
  WeightedNetwork network = Random(Classified(net, "sum"));
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
  // Padding does not count in a maximum, but counts as zeros in an average: 4, 6 or 9 of nine.
  EXPECT_TRUE(at::allclose(constants("max")[1], at::full({4, 4}, 3.25, at::kDouble)));
  EXPECT_NEAR(constants("average")[1][0][0].item<double>(), 3.25 * 4 / 9, 1e-12);
  EXPECT_NEAR(constants("average")[1][0][1].item<double>(), 3.25 * 6 / 9, 1e-12);
  EXPECT_NEAR(constants("average")[1][2][1].item<double>(), 3.25, 1e-12);
  EXPECT_NEAR(constants("sum")[1][3][3].item<double>(), 3.25 * 4 / 9 + 3.25, 1e-12);
  // Pictures store equal rows once.
  EXPECT_EQ(analysis.constants[analysis.info.Index("average")].rows, EqualRows::OfRuns({1, 2, 1}));
}

TEST(ChannelAnalysisTest, WhatNobodyReadsIsNotNeeded) {
  NetworkWriter net;
  net.Image(1, 2, 2, "x");
  net.Conv("a", "x", {3, 1});
  net.Conv("b", "a", {2, 1});
  WeightedNetwork network = Random(Classified(net, "b"));
  network.tensors.at("b.weight").select(1, 2).zero_();  // filter 2 of a has no consumer
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
              NetworkWriter net;
              net.Image(2, size, size, "x");
              net.Conv("a", "x", {4, 1, 1, 0, true});
              net.Conv("b", "a", {6, kernel, stride, padding, false, groups, dilation});
              net.Relu("relu", "b");
              WeightedNetwork network = Random(Classified(net, "relu"));
              Kill(network, "a", {0, 3});
              CheckExact(network, FoldPlainInputs, what);
              const at::Tensor weight = network.Get("b", "weight");
              ++folded;
              // The weights by input, of two groups as well.
              const auto of = [&](int64_t input) {
                return groups == 1 ? weight.select(1, input) : weight.narrow(0, input / 2 * 3, 3).select(1, input % 2);
              };
              EXPECT_FALSE(of(0).ne(0).any().item<bool>()) << what;
              EXPECT_FALSE(of(3).ne(0).any().item<bool>()) << what;
              EXPECT_TRUE(of(1).ne(0).all().item<bool>()) << what;
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
  NetworkWriter net;
  net.Image(1, 7, 7, "x");
  net.Conv("a", "x", {2, 1, 1, 0, true});
  net.Conv("b", "a", {3, 3, 1, 1});
  WeightedNetwork network = Random(Classified(net, "b"));
  Kill(network, "a", {1});
  network.tensors.at("b.weight")[2][1].zero_();  // this filter meets nothing
  CheckExact(network, FoldPlainInputs);
  EXPECT_EQ(network.Info().StoredConstantCount(), 2 * 9);
}

TEST(ConstantInputsTest, AConstantThatStaysCarriesAllOfThem) {
  NetworkWriter net;
  net.Image(1, 7, 7, "x");
  net.Conv("a", "x", {6, 1, 1, 0, true});
  net.Relu("relu", "a");
  net.Conv("b", "relu", {3, 3, 1, 1});
  WeightedNetwork network = Random(Classified(net, "b"));
  Kill(network, "a", {1, 2, 3, 4});
  Set(network, "a.bias", {0, 0.5, -1, 0, 2, 0});
  const at::Tensor before = network.Get("b", "weight").clone();
  const ChannelLayout layout = {{4, Streams::kScattered}, {}};  // two live channels, so two dead ones stay
  WeightedNetwork folded = network;
  CheckExact(folded, [&](WeightedNetwork& n) { FoldInputs(n, layout); });
  EXPECT_EQ(folded.Info().StoredConstantCount(), 0);
  const at::Tensor after = folded.Get("b", "weight");
  EXPECT_LE((after.select(1, 4) - before.select(1, 4) - 0.25 * before.select(1, 1)).abs().max().item<double>(), 1e-15);
  for (const int64_t dead : {1, 2, 3}) EXPECT_EQ(after.select(1, dead).abs().max().item<double>(), 0) << dead;
  // A second time it finds nothing to do, and the channels that stay are the live ones and the carrier.
  FoldInputs(folded, layout);
  EXPECT_TRUE(at::equal(folded.Get("b", "weight"), after));
  CompressionOptions options;
  options.layout = layout;
  CheckExact(network, [&](WeightedNetwork& n) { Compress(n, options); });
  EXPECT_EQ(network.Info().shape("a").channels, 4);
  EXPECT_EQ(network.Info().StoredConstantCount(), 0);
  EXPECT_TRUE(Compress(network, options).empty());
}

TEST(ConstantInputsTest, ASmallConstantCarriesNone) {
  NetworkWriter net;
  net.Image(1, 7, 7, "x");
  net.Conv("a", "x", {4, 1, 1, 0, true});
  net.Conv("b", "a", {3, 3, 1, 1});
  net.Conv("c", "b", {3, 3, 1, 1});
  for (const double small : {1e-6, 0.3}) {
    WeightedNetwork network = Random(Classified(net, "c"));
    Kill(network, "a", {1, 2});
    Set(network, "a.bias", {0, 1, small, 0});
    // Channel 1 goes, as if another layer had asked for that.
    ChannelAnalysis analysis(network);
    const ChannelLayout layout = {{3, Streams::kScattered}, {}};
    const at::Tensor kept = KeptChannels(analysis, layout, ReadConstants::kGo)[analysis.info.Index("a")];
    EXPECT_TRUE(kept[1].item<bool>()) << "the larger one stays";
    EXPECT_FALSE(kept[2].item<bool>());
    CheckExact(network, [&](WeightedNetwork& n) { FoldInputs(n, layout); });
    EXPECT_EQ(network.Info().StoredConstantCount(), 0);
    EXPECT_EQ(network.Get("b", "weight").select(1, 2).abs().max().item<double>(), 0);
  }
}

TEST(ConstantInputsTest, IntoTheLinearLayersBias) {
  NetworkWriter net;
  net.Image(1, 2, 2, "x");
  net.Conv("a", "x", {2, 1, 1, 0, true});
  WeightedNetwork network = Random(Classified(net, "a"));
  Kill(network, "a", {1});
  Set(network, "a.bias", {0, 0.5});
  const double weight = network.Get("fc", "weight")[0][1].item<double>();
  const double bias = network.Get("fc", "bias")[0].item<double>();
  CheckExact(network, FoldPlainInputs);
  EXPECT_NEAR(network.Get("fc", "bias")[0].item<double>(), bias + 0.5 * weight, 1e-14);
  EXPECT_EQ(network.Get("fc", "weight")[0][1].item<double>(), 0);
}

// A block without a shortcut's convolution: sum of x and bn(conv(relu)).
Network Block() {
  NetworkWriter net;
  net.Image(1, 5, 5, "x");
  net.Conv("stem", "x", {3, 3, 1, 1});
  net.Relu("relu0", "stem");
  net.Conv("conv1", "relu0", {4, 3, 1, 1});
  net.BatchNorm("bn1", "conv1");
  net.Relu("relu1", "bn1");
  net.Conv("conv2", "relu1", {3, 3, 1, 1});
  net.BatchNorm("bn2", "conv2");
  net.Add("sum", {"bn2", "relu0"});
  net.Relu("relu2", "sum");
  return Classified(net, "relu2");
}

TEST(DeadBlocksTest, ABlockWithoutLastFiltersLeavesItsConstants) {
  WeightedNetwork network = Random(Block());
  Kill(network, "conv2", {0, 1, 2});
  CheckExact(network, DropBlocks);
  const NetworkInfo info = network.Info();
  for (const char* gone : {"conv1", "bn1", "relu1", "conv2", "bn2"}) EXPECT_EQ(info.Index(gone), -1) << gone;
  EXPECT_EQ(info.StoredConstantCount(), 3);  // bn2's shift, one number a channel
}

TEST(DeadBlocksTest, ABlockThatBringsNothingIsGone) {
  WeightedNetwork network = Random(Block());
  Kill(network, "conv2", {0, 1, 2});
  Set(network, "bn2.bias", {0, 0, 0});
  Set(network, "bn2.running_mean", {0, 0, 0});
  CheckExact(network, DropBlocks);
  EXPECT_EQ(Names(network), (std::vector<std::string>{"x", "stem", "relu0", "gap", "flat", "fc"}));
}

TEST(DeadBlocksTest, NodesThatLeadNowhereGo) {
  NetworkWriter net;
  net.Image(1, 2, 2, "x");
  net.Conv("a", "x", {2, 1});
  net.Conv("aside", "a", {2, 1});
  WeightedNetwork network = Random(Classified(net, "a"));
  CheckExact(network, DropUnusedNodes);
  EXPECT_EQ(Names(network), (std::vector<std::string>{"x", "a", "gap", "flat", "fc"}));
  EXPECT_EQ(network.tensors.count("aside.weight"), 0);
}

TEST(ConstantOutputTest, LogitsThatDependOnNoImage) {
  NetworkWriter net;
  net.Image(2, 2, 2, "x");
  net.Conv("a", "x", {2, 1, 1, 0, true});
  WeightedNetwork network = Random(Classified(net, "a"));
  Kill(network, "a", {0, 1});
  const at::Tensor logits = Logits(network)[0];
  CheckExact(network, ReplaceOutput);
  EXPECT_EQ(network.network.node_size(), 4);
  EXPECT_TRUE(at::allclose(network.Get("fc", "bias"), logits));
}

TEST(ShrinkTest, ABlockKeepsItsStreamAndScattersIntoIt) {
  WeightedNetwork network = Random(Block());
  Kill(network, "stem", {0});
  Kill(network, "conv1", {0, 2});
  Kill(network, "conv2", {1});
  Set(network, "bn1.bias", {-9, 0.1, -9, 0.2});  // dead channels vanish in ReLU
  CheckExact(network, [](WeightedNetwork& n) { ShrinkTo(n, {}); });
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
    NetworkWriter net;
    net.Image(1, 4, 4, "x");
    net.Conv("a", "x", {10});
    net.BatchNorm("bn", "a");
    net.Relu("relu", "bn");
    net.Conv("b", "relu", {2, 1});
    WeightedNetwork network = Random(Classified(net, "b"));
    for (int64_t filter = live; filter < 10; ++filter) Kill(network, "a", {filter});
    FoldPlainInputs(network);
    CheckExact(network, [multiple = multiple](WeightedNetwork& n) {
      ShrinkTo(n, {{multiple, Streams::kScattered}, {}});
    });
    EXPECT_EQ(network.Info().shape("a").channels, kept) << live << " to a multiple of " << multiple;
  }
}

TEST(ShrinkTest, DepthwiseConvolutionsAreRoundedLikeTheirInputs) {
  NetworkWriter net;
  net.Image(1, 6, 6, "x");
  net.Conv("expand", "x", {20, 1, 1, 0, true});
  net.Relu("relu", "expand");
  Conv2d& depthwise = *net.Append("depthwise", {"relu"})->mutable_conv2d();
  depthwise.set_out_channels(20);
  depthwise.set_padding(1);
  depthwise.set_groups(20);
  depthwise.set_bias(true);
  net.Relu("relu2", "depthwise");
  net.Conv("project", "relu2", {3, 1});
  WeightedNetwork network = Random(Classified(net, "project"));
  // Constants behind the first ReLU where the bias is above zero: every other one of the dead channels.
  for (int64_t filter = 13; filter < 20; ++filter) {
    Kill(network, "expand", {filter});
    network.tensors.at("expand.bias")[filter] = filter % 2 == 0 ? 1 : -1;
  }
  CompressionOptions options;
  options.layout.all.multiple = 16;
  CheckExact(network, [&](WeightedNetwork& n) { Compress(n, options); });
  EXPECT_EQ(network.Info().shape("expand").channels, 16);
  EXPECT_EQ(network.Info().shape("depthwise").channels, 16);
}

int Count(const WeightedNetwork& network, Node::OpCase op) {
  int count = 0;
  for (const Node& node : network.network.node()) count += node.op_case() == op;
  return count;
}

TEST(CompressOptionsTest, SaysWhichLayoutItUsed) {
  WeightedNetwork network = Random(Block());
  Kill(network, "conv2", {1});
  CompressionOptions options;
  options.layout.all = {1, Streams::kConvolved};
  ChannelLayout used;
  Compress(network, options, &used);
  EXPECT_TRUE(used == options.layout);
  // Fifteen filters of two weights each, for which a placing convolution would have 240.
  NetworkWriter net;
  net.Image(1, 5, 5, "x");
  net.Conv("stem", "x", {16, 3, 1, 1});
  net.Conv("conv1", net.Relu("relu0", "stem"), {2, 1});
  net.Conv("conv2", net.Relu("relu1", "conv1"), {16, 1});
  net.Add("sum", {"conv2", "relu0"});
  network = Random(Classified(net, "sum"));
  Kill(network, "conv2", {1});
  CheckExact(network, [&](WeightedNetwork& n) { Compress(n, options, &used); });
  EXPECT_TRUE(used.IsPlain()) << used.Text();
  EXPECT_EQ(Count(network, Node::kScatter), 1);
}

// A block as in a ResNet, whose second convolution and BN have lost filter 1, which BN's shift leaves a constant.
WeightedNetwork BlockWithDeadFilters() {
  WeightedNetwork network = Random(Block());
  Kill(network, "conv2", {1});
  return network;
}

TEST(PlacingTest, ScattersBecomeConvolutionsWithTheConstantsAsTheirBias) {
  WeightedNetwork scattered = BlockWithDeadFilters(), convolved = BlockWithDeadFilters();
  CompressionOptions options;
  options.fold_batch_norm = true;
  Compress(scattered, options);
  ASSERT_EQ(Count(scattered, Node::kConstant), 1);
  options.layout.all.streams = Streams::kConvolved;
  CheckExact(convolved, [&](WeightedNetwork& n) { Compress(n, options); });
  EXPECT_EQ(Count(convolved, Node::kScatter) + Count(convolved, Node::kConstant), 0);
  std::string name;
  for (const Node& node : convolved.network.node()) {
    if (node.op_case() == Node::kConv2D && node.conv2d().kernel_height() == 1) name = node.name();
  }
  const at::Tensor weight = convolved.Get(name, "weight");
  EXPECT_EQ(weight.sizes(), at::IntArrayRef({3, 2, 1, 1}));
  EXPECT_EQ(Row(weight.view(-1)), (std::vector<double>{1, 0, 0, 0, 0, 1}));
  EXPECT_EQ(Row(convolved.Get(name, "bias").ne(0).to(at::kDouble)), (std::vector<double>{0, 1, 0}));
  EXPECT_TRUE(Compress(convolved, options).empty());
  // And back again.
  CheckExact(convolved, ConvolutionsToScatters);
  options.layout = {};
  Compress(convolved, options);
  EXPECT_EQ(convolved.network.SerializeAsString(), scattered.network.SerializeAsString());
}

TEST(PlacingTest, OnlyWhereTheLayoutSaysSo) {
  WeightedNetwork network = BlockWithDeadFilters();
  CompressionOptions options;
  options.layout.by_pixels[1] = {1, Streams::kConvolved};  // no maps of one pixel have a stream
  Compress(network, options);
  EXPECT_EQ(Count(network, Node::kScatter), 2);  // with that of the constant
}

TEST(PlacingTest, OtherConvolutionsStay) {
  for (const std::string name : {"a.scatter", "a.scatter2", "a"}) {
    for (const std::string& what : {std::string("ones"), std::string("twice"), std::string("half")}) {
      NetworkWriter net;
      net.Image(2, 4, 4, "x");
      net.Conv(name, "x", {3, 1, 1, 0, true});
      WeightedNetwork network = Random(Classified(net, name));
      at::Tensor weight = at::zeros_like(network.Get(name, "weight"));
      weight[0][0] = 1;
      weight[what == "twice" ? 0 : 2][1] = what == "half" ? 0.5 : 1;
      network.Set(name, "weight", weight);
      CheckExact(network, ConvolutionsToScatters);
      EXPECT_EQ(Count(network, Node::kScatter) > 0, what == "ones" && name != "a") << name << ", " << what;
    }
  }
}

TEST(ShrinkTest, ConcatLosesChannelsAndDeadBranches) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {3, 1, 1, 0, true});
  net.Conv("b", "x", {4, 1, 1, 0, true});
  net.Append("cat", {"a", "b"})->mutable_concat();
  net.Conv("c", "cat", {2, 3, 1, 1});
  const Network whole = Classified(net, "c");
  const auto pass = [](WeightedNetwork& n) { Compress(n, {}); };
  WeightedNetwork network = Random(whole);
  Kill(network, "a", {1});
  Kill(network, "b", {0, 3});
  CheckExact(network, pass);
  EXPECT_EQ(network.Info().shape("a").channels, 2);
  EXPECT_EQ(network.Info().shape("cat").channels, 4);
  EXPECT_EQ(network.Get("c", "weight").sizes(), at::IntArrayRef({2, 4, 3, 3}));
  const at::Tensor weight = Random(whole).Get("c", "weight").index_select(1, at::tensor({0, 2, 4, 5}, at::kLong));
  EXPECT_TRUE(at::equal(network.Get("c", "weight"), weight));
  network = Random(whole);
  Kill(network, "b", {0, 1, 2, 3});
  CheckExact(network, pass);
  EXPECT_EQ(network.Info().Index("b"), -1);
  EXPECT_EQ(network.Info().Index("cat"), -1);  // one input is left
  EXPECT_EQ(network.Get("c", "weight").sizes(), at::IntArrayRef({2, 3, 3, 3}));
}

// The output keeps all its features, dead ones too.
TEST(ShrinkTest, ADeadBranchOfTheOutputIsStored) {
  NetworkWriter net;
  net.Image(2, 2, 2, "x");
  net.Flatten("flat", net.Conv("a", "x", {5, 1}));
  net.Linear("left", "flat", 2);
  net.Linear("right", "flat", 3);
  net.Append("logits", {"left", "right"})->mutable_concat();
  WeightedNetwork network = Random(net.Take());
  Kill(network, "right", {0, 1, 2});
  CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
  EXPECT_EQ(network.Info().Index("right"), -1);
  EXPECT_EQ(network.Info().StoredConstantCount(), 3);
  EXPECT_TRUE(Compress(network, {}).empty());
}

TEST(ShrinkTest, ANormOverChannelsKeepsThemAllAndItIsSaid) {
  NetworkWriter net;
  net.Image(2, 4, 4, "x");
  net.Conv("a", "x", {6, 3, 1, 1, true});
  net.Append("norm", {"a"})->mutable_layer_norm();
  net.Conv("b", net.Relu("relu", "norm"), {5, 1, 1, 0, true});
  net.Conv("c", "b", {3, 1});
  WeightedNetwork network = Random(Classified(net, "c"));
  EXPECT_TRUE(DeadChannelsThatStay(network).empty());
  Kill(network, "a", {1, 4});
  Kill(network, "b", {0});
  CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
  EXPECT_EQ(network.Info().shape("a").channels, 6);
  EXPECT_EQ(network.Info().shape("b").channels, 4);
  EXPECT_EQ(DeadChannelsThatStay(network),
            std::vector<std::string>{"norm (layer norm) computes with all 6 channels of a, so 2 that are the same for "
                                     "every image stay"});
}

// A gate that is zero for every image takes with it what it gates; one that is always the same is stored.
TEST(ShrinkTest, DeadGates) {
  NetworkWriter net;
  net.Image(2, 4, 4, "x");
  net.Conv("a", "x", {6, 3, 1, 1, true});
  net.Conv("squeeze", net.GlobalAveragePool("mean", "a"), {3, 1, 1, 0, true});
  net.Conv("excite", net.Relu("relu", "squeeze"), {6, 1, 1, 0, true});
  net.Elementwise("gate", "excite", Elementwise::HARD_SIGMOID);
  net.Append("gated", {"a", "gate"})->mutable_arithmetic()->set_function(Arithmetic::MULTIPLY);
  net.Conv("b", "gated", {3, 1});
  const Network whole = Classified(net, "b");
  const auto pass = [](WeightedNetwork& n) { Compress(n, {}); };
  WeightedNetwork network = Random(whole);
  Kill(network, "excite", {0, 2});
  Set(network, "excite.bias", {-4, 0.1, 0.3, 0, 0, 0});  // the first gate is shut, the third is open by 0.55
  CheckExact(network, pass);
  EXPECT_EQ(network.Get("b", "weight").size(1), 6) << "a product is as wide as its factors";
  EXPECT_EQ(network.Info().shape("a").channels, 6) << "what is squeezed reads all";
  network = Random(whole);
  Kill(network, "squeeze", {0, 1, 2});
  CheckExact(network, pass);
  EXPECT_EQ(network.Info().Index("excite"), -1);
  EXPECT_GE(network.Info().Index("gated"), 0);
  network = Random(whole);
  Kill(network, "excite", {0, 1, 2, 3, 4, 5});
  Set(network, "excite.bias", {-4, -4, -4, -4, -4, -4});
  CheckExact(network, pass);
  EXPECT_EQ(network.Info().network().node_size(), 4) << "nothing depends on the image";
}

TEST(ShrinkTest, AChoiceOfChannelsLosesThoseThatNobodyReads) {
  NetworkWriter net;
  net.Image(2, 4, 4, "x");
  net.Conv("a", "x", {6, 3, 1, 1, true});
  Select* select = net.Append("chosen", {"a"})->mutable_select();
  for (const int64_t k : {5, 0, 2, 0}) select->add_index(k);
  net.Conv("b", "chosen", {3, 1});
  WeightedNetwork network = Random(Classified(net, "b"));
  network.tensors.at("b.weight").select(1, 1).zero_();  // the first of the two copies
  CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
  EXPECT_EQ(network.Info().shape("a").channels, 3);
  const NetworkInfo info = network.Info();
  const auto& index = info.node(info.Index("chosen")).select().index();
  EXPECT_EQ(std::vector<int64_t>(index.begin(), index.end()), (std::vector<int64_t>{2, 1, 0}));
}

// One group has no input to spare: nothing is folded, because nothing could be removed.
TEST(ConstantInputsTest, GroupsThatCannotAllLoseAnInputKeepTheirs) {
  NetworkWriter net;
  net.Image(2, 5, 5, "x");
  net.Conv("a", "x", {4, 1, 1, 0, true});
  net.Conv("b", "a", {6, 3, 1, 1, false, 2});
  WeightedNetwork network = Random(Classified(net, "b"));
  Kill(network, "a", {0});
  CheckExact(network, FoldPlainInputs);
  EXPECT_TRUE(network.Get("b", "weight").ne(0).all().item<bool>());
  EXPECT_FALSE(network.Has("b", "bias"));
  EXPECT_EQ(network.Info().StoredConstantCount(), 0);
}

// Groups lose as many channels as the one that can spare least, each its own.
TEST(ShrinkTest, GroupsBecomeNarrower) {
  for (const double bias : {0.0, 0.5}) {
    NetworkWriter net;
    net.Image(1, 4, 4, "x");
    net.Conv("a", "x", {8, 3, 1, 1, true});
    net.Conv("d", "a", {6, 3, 1, 1, false, 2});
    WeightedNetwork network = Random(Classified(net, "d"));
    Kill(network, "a", {0, 2, 7});  // two of the first group's inputs, one of the second's
    network.tensors.at("a.bias").fill_(bias);
    Kill(network, "d", {1, 3, 5});  // one of the first group's filters, two of the second's
    const at::Tensor a = network.Get("a", "weight");
    at::Tensor d = network.Get("d", "weight").clone();
    CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
    EXPECT_EQ(network.Info().node(network.Info().Index("d")).conv2d().groups(), 2);
    // The lowest dead ones fill up: input 0 and filter 3. What input 0 contributes is a constant, if it is not zero.
    const auto at = [](std::vector<int64_t> index) { return at::tensor(index, at::kLong); };
    EXPECT_TRUE(at::equal(network.Get("a", "weight"), a.index_select(0, at({0, 1, 3, 4, 5, 6}))));
    d.narrow(0, 0, 3).select(1, 0).zero_();
    EXPECT_TRUE(
        at::equal(network.Get("d", "weight"), at::cat({d.index_select(0, at({0, 2})).index_select(1, at({0, 1, 3})),
                                                       d.index_select(0, at({3, 4})).index_select(1, at({0, 1, 2}))})));
  }
}

TEST(ShrinkTest, GroupedConvolutionsLoseWholeGroups) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {6});
  net.Conv("d", "a", {6, 1, 1, 0, false, 3});
  WeightedNetwork network = Random(Classified(net, "d"));
  Kill(network, "a", {2, 3, 4});  // the middle group, and half of the last
  Kill(network, "d", {2, 3});
  CheckExact(network, [](WeightedNetwork& n) {
    FoldPlainInputs(n);
    ShrinkTo(n, {});
  });
  EXPECT_EQ(network.Info().node(network.Info().Index("d")).conv2d().groups(), 2);
  EXPECT_EQ(network.Get("d", "weight").sizes(), at::IntArrayRef({4, 2, 1, 1}));
  EXPECT_EQ(network.Get("a", "weight").sizes(), at::IntArrayRef({4, 1, 3, 3}));
}

// Behind a transposed convolution rows alternate: what a dead channel brings is stored for few of them.
TEST(ConstantInputsTest, EqualRowsThatAreNoNeighboursAreStoredOnce) {
  NetworkWriter net;
  net.Image(1, 8, 8, "x");
  net.Conv("a", "x", {3, 3, 1, 1, true});
  net.Append("up", {"a"})->mutable_conv_transpose2d()->set_out_channels(4);
  net.Conv("b", "up", {2, 3, 1, 1});
  const NetworkInfo dense = *NetworkInfo::Create(Classified(net, "b"));
  WeightedNetwork network = Random(dense.network());
  Kill(network, "a", {1, 2});
  CheckExact(network, [](WeightedNetwork& n) { FoldPlainInputs(n); });
  const NetworkInfo folded = network.Info();
  int stored = 0;
  for (const Node& node : folded.network().node()) {
    if (!node.has_constant()) continue;
    ++stored;
    EXPECT_EQ(node.constant().height(), 16);
    EXPECT_EQ(StoredRows(node.constant()), 2);
    EXPECT_EQ(node.constant().row_index_size(), 16);
    EXPECT_EQ(node.constant().row_repeats_size(), 0);
  }
  EXPECT_EQ(stored, 1);
  // Its weight is [in, out, ...]: inputs that are gone are rows, outputs that are dead are columns.
  network = Random(dense.network());
  Kill(network, "a", {1});
  network.tensors.at("up.weight").select(1, 2).zero_();
  CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
  EXPECT_EQ(network.Get("up", "weight").sizes(), at::IntArrayRef({2, 3, 2, 2}));
  EXPECT_EQ(network.Get("b", "weight").sizes(), at::IntArrayRef({2, 3, 3, 3}));
}

TEST(ShrinkTest, GroupsOfATransposedConvolutionStayOrGo) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {6});
  ConvTranspose2d* up = net.Append("up", {"a"})->mutable_conv_transpose2d();
  up->set_out_channels(9);
  up->set_groups(3);
  WeightedNetwork network = Random(Classified(net, "up"));
  Kill(network, "a", {2, 3});  // the inputs of the middle group
  const at::Tensor weight = network.Get("up", "weight"), bias = network.Get("up", "bias");
  network.tensors.at("up.bias").narrow(0, 3, 3).zero_();
  CheckExact(network, [](WeightedNetwork& n) {
    FoldPlainInputs(n);
    ShrinkTo(n, {});
  });
  EXPECT_EQ(network.Info().node(network.Info().Index("up")).conv_transpose2d().groups(), 2);
  EXPECT_TRUE(at::equal(network.Get("up", "weight"), at::cat({weight.narrow(0, 0, 2), weight.narrow(0, 4, 2)})));
  EXPECT_TRUE(at::equal(network.Get("up", "bias"), at::cat({bias.narrow(0, 0, 3), bias.narrow(0, 6, 3)})));
}

TEST(FoldBatchNormTest, IntoATransposedConvolution) {
  for (const int64_t groups : {1, 2}) {
    NetworkWriter net;
    net.Image(2, 4, 4, "x");
    ConvTranspose2d* up = net.Append("up", {"x"})->mutable_conv_transpose2d();
    up->set_out_channels(6);
    up->set_groups(groups);
    up->set_bias(false);
    net.BatchNorm("bn", "up");
    WeightedNetwork network = Random(Classified(net, "bn"));
    CheckExact(network, FoldBatchNorm);
    EXPECT_EQ(network.Info().Index("bn"), -1);
    EXPECT_TRUE(network.Has("up", "bias"));
  }
}

// x -> a -> relu -> relu2, and a branch `dead` of constants; the classifier reads both.
WeightedNetwork SeveralOutputs(const std::vector<std::string>& outputs) {
  NetworkWriter net;
  net.Image(2, 4, 4, "x");
  net.Conv("a", "x", {3, 3, 1, 1, true});
  net.BatchNorm("bn", "a");
  net.Relu("relu2", net.Relu("relu", "bn"));
  net.Conv("dead", "x", {3, 3, 1, 1, true});
  net.Conv("after", "dead", {3, 3, 1, 1, true});
  net.Add("sum", {"relu2", "after"});
  Network network = Classified(net, "sum");
  for (const std::string& output : outputs) network.add_output(output);
  WeightedNetwork weighted = Random(network);
  Kill(weighted, "dead", {0, 1, 2});
  return weighted;
}

// Of all outputs, flattened, [3, ...].
at::Tensor Results(const WeightedNetwork& network) {
  const at::NoGradGuard no_gradients;
  Model model = ToModel(network, at::kCPU);
  const at::Tensor x = at::linspace(-1, 1, 96, at::kDouble).mul(231).sin().view({3, 2, 4, 4});
  std::vector<at::Tensor> results;
  for (const at::Tensor& result : ReferencePlan().Forward(model, x, {}).results) results.push_back(result.flatten(1));
  return at::cat(results, 1);
}

TEST(SeveralOutputsTest, RemovalKeepsAllOfThemInTheirOrder) {
  const std::string classes = "fc";
  for (const std::vector<std::string>& outputs : {std::vector<std::string>{classes, "after"},
                                                  {"after", classes},
                                                  {"after", "dead"},
                                                  {classes, "relu", "relu2"},
                                                  {"bn", classes, "a"},
                                                  {"x", "sum"},
                                                  {"sum", "after", "dead", "x", "relu2", "bn", "a", classes}}) {
    for (const bool fold : {false, true}) {
      SCOPED_TRACE(absl::StrCat(outputs[0], " and ", outputs.size() - 1, " others, folded ", fold));
      WeightedNetwork network = SeveralOutputs(outputs);
      const at::Tensor before = Results(network);
      CompressionOptions options;
      options.fold_batch_norm = fold;
      Compress(network, options);
      EXPECT_LE((Results(network) - before).abs().max().item<double>(), 1e-12);
      EXPECT_EQ(network.network.output_size(), static_cast<int>(outputs.size()));
      EXPECT_EQ(network.Info().Index("dead"), -1);
      EXPECT_TRUE(Compress(network, options).empty());
    }
  }
  // A convolution whose output is wanted as it is keeps its BN, and so does a BN that is wanted itself.
  WeightedNetwork network = SeveralOutputs({classes, "a"});
  FoldBatchNorm(network);
  EXPECT_GE(network.Info().Index("bn"), 0);
  network = SeveralOutputs({classes, "bn"});
  const at::Tensor before = Results(network);
  FoldBatchNorm(network);
  EXPECT_EQ(network.network.output(1), "a");
  EXPECT_LE((Results(network) - before).abs().max().item<double>(), 1e-12);
}

TEST(SeveralOutputsTest, CoupledRemovalKeepsTheirChannels) {
  WeightedNetwork network = SeveralOutputs({"relu", "after"});
  ASSERT_TRUE(RemoveCoupled(network, CoupledOptions{0.5}).ok());
  EXPECT_EQ(network.Info().shape("relu").channels, 3);
  EXPECT_EQ(network.Info().shape("after").channels, 3);
  EXPECT_LT(network.Info().shape("dead").channels, 3);
}

TEST(FoldBatchNormTest, IntoTheConvolutionBefore) {
  WeightedNetwork network = Random(Block());
  const double weight = network.Get("conv1", "weight")[2][1][0][2].item<double>();
  const double scale = network.Get("bn1", "weight")[2].item<double>() /
                       std::sqrt(network.Get("bn1", "running_var")[2].item<double>() + 1e-5);
  CheckExact(network, FoldBatchNorm);
  EXPECT_EQ(network.Info().Index("bn1"), -1);
  EXPECT_EQ(network.Info().Index("bn2"), -1);
  EXPECT_NEAR(network.Get("conv1", "weight")[2][1][0][2].item<double>(), weight * scale, 1e-14);
}

TEST(FoldBatchNormTest, NotWhereOthersReadTheConvolution) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {2});
  net.BatchNorm("bn", "a");
  net.Add("sum", {"bn", "a"});
  WeightedNetwork network = Random(Classified(net, "sum"));
  CheckExact(network, FoldBatchNorm);
  EXPECT_GE(network.Info().Index("bn"), 0);
}

TEST(FoldBatchNormTest, AcrossAStoredConstant) {
  WeightedNetwork network = Random(Block());
  Kill(network, "conv1", {1});
  CheckExact(network, FoldPlainInputs);  // conv2 -> sum with a constant -> bn2
  CheckExact(network, FoldBatchNorm);
  EXPECT_EQ(network.Info().Index("bn2"), -1);
}

// Between the convolution and its BN, and on the way to the output. What is removed exactly may be trained again.
Network WithDropouts() {
  NetworkWriter net;
  net.Image(2, 5, 5, "x");
  net.Dropout("inner", net.Conv("conv", "x", {4, 3, 1, 1}), 0.2, Dropout::CHANNEL);
  net.Relu("relu", net.BatchNorm("bn", "inner"));
  net.Dropout("drop", net.Flatten("flat", net.GlobalAveragePool("gap", "relu")), 0.3);
  net.Linear("fc", "drop", 2);
  net.Dropout("last", "fc", 0.1);
  return net.Take();
}

TEST(ShrinkTest, DropoutStaysAsItIsAndHasFewerChannels) {
  const Network before = WithDropouts();
  WeightedNetwork network = Random(before);
  Kill(network, "conv", {1});
  CheckExact(network, [](WeightedNetwork& n) { Compress(n, {}); });
  const NetworkInfo info = network.Info();
  for (const Node& node : before.node()) {
    if (node.op_case() != Node::kDropout) continue;
    ASSERT_GE(info.Index(node.name()), 0) << node.name();
    EXPECT_EQ(info.node(info.Index(node.name())).dropout().SerializeAsString(), node.dropout().SerializeAsString());
  }
  EXPECT_EQ(info.shape(info.Index("inner")).channels, 3);
  EXPECT_EQ(info.shape(info.Index("drop")).channels, 3);
  EXPECT_EQ(info.network().node(info.network().node_size() - 1).name(), "last");
}

TEST(FoldBatchNormTest, LeavesDropoutOutAlsoBeforeTheNorm) {
  WeightedNetwork network = Random(WithDropouts());
  CheckExact(network, FoldBatchNorm);
  EXPECT_EQ(Names(network), (std::vector<std::string>{"x", "conv", "relu", "gap", "flat", "fc"}));
}

// Behind a batch norm, behind a convolution with a bias, and behind one that something else reads, too.
TEST(MergeCompactorsTest, OneConvolutionOfTheSameFunction) {
  NetworkWriter net;
  net.Image(3, 7, 6, "x");
  net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", "x", {6, 3, 1, 1})));
  net.Conv("conv2", "relu1", {5, 3, 2, 1, true});
  net.Relu("relu2", "conv2");
  net.Conv("conv3", "relu2", {4, 1});
  net.Relu("relu3", "conv3");
  const NetworkInfo dense = *NetworkInfo::Create(Classified(net, "relu3"));
  Network with = *WithCompactors(dense, {"conv1", "conv2", "conv3"});
  Node& second_reader = *with.mutable_node(NetworkInfo::Create(with)->Index("relu3"));
  ASSERT_EQ(second_reader.name(), "relu3");
  second_reader.clear_relu();
  second_reader.mutable_add();
  second_reader.add_input("conv3");
  const NetworkInfo info = *NetworkInfo::Create(with);
  Model model = RandomModel(info, at::kDouble, 3);
  for (const char* conv : {"conv1", "conv2", "conv3"}) {
    const at::Tensor& weight = model.Get(absl::StrCat(conv, ".compactor.weight"));
    weight.detach().copy_(at::linspace(-1, 1, weight.numel(), at::kDouble).mul(100).sin().view(weight.sizes()));
  }
  model.SetMasks({{"conv1.compactor", at::tensor({1., 0., 1., 1., 0., 1.}, at::kDouble).view({6, 1, 1, 1})}});
  const at::NoGradGuard no_gradients;
  const at::Tensor x = at::linspace(-1, 1, 3 * 3 * 7 * 6, at::kDouble).mul(231).sin().view({3, 3, 7, 6});
  const at::Tensor expected = ReferencePlan().Forward(model, x, {}).logits;
  WeightedNetwork merged = *ToWeightedNetwork(model);
  EXPECT_LT((Logits(merged) - expected).abs().max().item<double>(), 1e-12 * expected.abs().max().item<double>());
  EXPECT_EQ(merged.Info().Index("conv1.compactor"), -1);
  EXPECT_EQ(merged.Info().Index("bn1"), -1);
  EXPECT_EQ(merged.Info().Index("conv2.compactor"), -1);
  EXPECT_GE(merged.Info().Index("conv3.compactor"), 0);
  EXPECT_EQ(merged.network.node(merged.Info().Index("conv1")).conv2d().out_channels(), 6);
  // What the compactor has lost, the convolution loses.
  Compress(merged, {});
  EXPECT_LT((Logits(merged) - expected).abs().max().item<double>(), 1e-12 * expected.abs().max().item<double>());
  EXPECT_EQ(merged.network.node(merged.Info().Index("conv1")).conv2d().out_channels(), 4);
  const RemovedSize size = SizeAfterRemoval(model);
  EXPECT_EQ(size.macs, merged.Info().MacCount());
  EXPECT_EQ(size.parameters, merged.Info().ParameterCount());
}

TEST(PassManagerTest, SaysWhatEachPassSaved) {
  WeightedNetwork network = Random(Block());
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
  // There is nothing left to do the second time.
  EXPECT_TRUE(Compress(network, {}).empty());
}

// Channel 3 of the quotient is computed because its chain keeps it for another reader, and nobody needs it. What its
// divisor is made of must stay, or it would be a number divided by zero, of which a weight of zero makes NaN.
TEST(CompressTest, WhatADivisorIsMadeOfStays) {
  NetworkWriter net;
  const std::string image = net.Image(3, 4, 4);
  const std::string a = net.Conv("a", image, {4, 1}), e = net.Conv("e", net.Conv("d", image, {2, 1}), {4, 1});
  Node* quotient = net.Append("q", {a, e});
  quotient->mutable_arithmetic()->set_function(Arithmetic::DIVIDE);
  const std::string f = net.Conv("f", "q", {2, 1}), h = net.Conv("h", a, {2, 1});
  Node* both = net.Append("both", {f, h});
  both->mutable_concat();
  net.Classifier("fc", "both", 3);
  const Network made = net.Take();
  for (const int64_t multiple : {1, 4}) {
    WeightedNetwork network = Random(made);
    network.tensors.at("e.weight").zero_();
    network.tensors.at("e.weight").select(1, 0).slice(0, 0, 3).fill_(1);
    network.tensors.at("e.weight")[3][1].fill_(1);
    network.tensors.at("d.weight").abs_();
    network.tensors.at("f.weight").select(1, 3).zero_();
    CompressionOptions options;
    options.layout.all.multiple = multiple;
    CheckExact(network, [&](WeightedNetwork& n) { Compress(n, options); });
  }
}

}  // namespace
}  // namespace prunelab
