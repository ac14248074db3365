#include "ml/execution/skipping_plan.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "google/protobuf/text_format.h"
#include "ml/execution/testing/plan_comparison.h"

namespace prunelab {
namespace {

void ExpectSameStep(const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks,
                    const ForwardOptions& options) {
  SkippingPlan plan;
  ExpectSameStep(plan, info, masks, options);
}

TEST(SkippingPlanTest, ADenseStepEqualsTheReferencePlan) {
  for (const char* text : kNetworks) {
    SCOPED_TRACE(text);
    ExpectSameStep(Build(text), {}, {});
  }
}

TEST(SkippingPlanTest, UnevenWindowsAreNotTakenForEvenOnes) {
  for (const NetworkInfo& info : UnevenConvolutions()) {
    SCOPED_TRACE(info.node(info.Index("conv")).ShortDebugString());
    ExpectSameStep(info, {}, {});
    ExpectSameStep(info, SomeMasks(info, 0.5), {});
  }
}

void ExpectSameMaskedSteps(const char* text, const NetworkInfo& info, const std::vector<double>& rates) {
  for (const double rate : rates) {
    for (const GradientPolicy policy : {GradientPolicy::kStraightThrough, GradientPolicy::kMasked}) {
      SCOPED_TRACE(std::string(text) + " rate " + std::to_string(rate) + " policy " +
                   std::to_string(static_cast<int>(policy)));
      ForwardOptions options;
      options.policy = policy;
      ExpectSameStep(info, SomeMasks(info, rate), options);
    }
  }
}

TEST(SkippingPlanTest, AMaskedStepEqualsTheReferencePlan) {
  for (const char* text : kNetworks) ExpectSameMaskedSteps(text, Build(text), {0.3, 0.6, 0.95});
}

// With most filters masked whole layers are constant, and BN divides their rounding by the root of epsilon.
TEST(SkippingPlanTest, StepsOfOtherFamiliesEqualTheReferencePlan) {
  for (const char* text : kFamilies) {
    const NetworkInfo info = Build(text);
    ExpectSameStep(info, {}, {});
    ExpectSameMaskedSteps(text, info, {0.2, 0.5});
  }
}

TEST(SkippingPlanTest, WeightMasksAreKeptToo) {
  const NetworkInfo info = Build(kResNet20);
  std::map<std::string, at::Tensor> masks;
  double frequency = 0.9;
  for (const ConvInfo& conv : info.convs()) {
    const at::Tensor weight = MakeModel(info).Get(conv.node + ".weight");
    masks[conv.node] = (Values(weight.sizes(), frequency += 0.01).abs() > 0.7).to(at::kDouble);
  }
  for (const GradientPolicy policy : {GradientPolicy::kStraightThrough, GradientPolicy::kMasked}) {
    ForwardOptions options;
    options.policy = policy;
    ExpectSameStep(info, masks, options);
  }
}

TEST(SkippingPlanTest, ADeadBlockIsNoSpecialCase) {
  const NetworkInfo info = Build(kResNet20);
  std::map<std::string, at::Tensor> masks;
  for (const ConvInfo& conv : info.convs()) {
    const bool dead = conv.node.find("layer1.1.") == 0 || conv.node.find("layer3.0.") == 0;
    masks[conv.node] = dead ? at::zeros({conv.filters, 1, 1, 1}) : at::ones({conv.filters, 1, 1, 1});
  }
  ExpectSameStep(info, masks, {});
}

TEST(SkippingPlanTest, CapturedNodesAreNotFusedAway) {
  const NetworkInfo info = Build(kResNet20);
  ForwardOptions options;
  for (int i = 0; i < info.network().node_size(); i += 3) options.capture.insert(info.node(i).name());
  options.capture.insert("layer2.1.relu1");
  options.capture.insert("layer2.1.conv2");
  for (const GradientPolicy policy : {GradientPolicy::kStraightThrough, GradientPolicy::kMasked}) {
    options.policy = policy;
    ExpectSameStep(info, SomeMasks(info, 0.6), options);
  }
}

// After a unit's ReLU dead filters with beta <= 0 need nothing; capturing the activation does not change that.
TEST(SkippingPlanTest, OneCapturedNodeAtATime) {
  const NetworkInfo info = Build(kResNet20);
  for (const char* node : {"relu", "layer1.0.relu1", "layer3.2.relu1", "layer2.0.relu2", "layer3.2.bn2", "flatten"}) {
    SCOPED_TRACE(node);
    ASSERT_GE(info.Index(node), 0);
    ForwardOptions options;
    options.capture = {node};
    ExpectSameStep(info, SomeMasks(info, 0.6), options);
  }
}

// Betas as initialized, 60 % of each layer's filters masked, and a multiple of eight of them computed.
TEST(SkippingPlanTest, ExecutesLessThanHalfOfTheWork) {
  const NetworkInfo info = Build("ResNetCifar] { depth: 56 }");
  Model model = Model::Create(info, at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  std::map<std::string, at::Tensor> masks;
  for (const ConvInfo& conv : info.convs()) {
    at::Tensor mask = at::ones({conv.filters, 1, 1, 1});
    for (int64_t off = 0; off < static_cast<int64_t>(0.6 * conv.filters); ++off) mask[off * 5 % conv.filters] = 0;
    masks[conv.node] = mask;
  }
  SkippingPlan plan;
  ForwardOptions options;
  options.mode = Mode::kTrain;
  const at::Tensor images = at::zeros({2, 3, 32, 32}).contiguous(at::MemoryFormat::ChannelsLast);
  const auto macs = [&] { return static_cast<double>(plan.Forward(model, images, options).executed_macs); };
  const auto dense = static_cast<double>(DenseTrainingMacs(info));
  EXPECT_EQ(macs(), dense);
  model.SetMasks(masks);
  EXPECT_LE(macs(), 0.5 * dense);
  options.policy = GradientPolicy::kMasked;
  EXPECT_LE(macs(), 0.42 * dense);
}

// LibTorch would continue with a NaN running variance.
TEST(SkippingPlanDeathTest, OneValueAChannelHasNoVariance) {
  const NetworkInfo info = Build("ResNetCifar] { depth: 8 width: 2 image_size: 4 }");  // ends in maps of one pixel
  ReferencePlan reference;
  SkippingPlan skipping;
  ForwardOptions options;
  options.mode = Mode::kTrain;
  for (Plan* plan : std::vector<Plan*>{&reference, &skipping}) {
    Model model = MakeModel(info);
    const auto images = [](int64_t n) { return Values({n, 3, 4, 4}, 0.37).contiguous(at::MemoryFormat::ChannelsLast); };
    // If a process forks while its threads compute, the child would wait for them forever.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    EXPECT_DEATH(plan->Forward(model, images(1), options), "one value a channel");
    plan->Forward(model, images(2), options);
    for (const NamedTensor& buffer : model.buffers()) {
      EXPECT_TRUE(at::isfinite(buffer.tensor).all().item<bool>()) << buffer.name;
    }
    EXPECT_TRUE(at::isfinite(plan->Forward(model, images(1), {}).logits).all().item<bool>());
  }
}

// Networks without BN, which BN folding produces, and what may come between their nodes.
constexpr char kImage[] = R"(node { name: "x" image { channels: 8 height: 7 width: 6 } })";
std::string Conv3x3Node(const std::string& name, const std::string& input, int filters) {
  return "node { name: '" + name + "' input: '" + input + "' conv2d { out_channels: " + std::to_string(filters) +
         " padding: 1 bias: true } } ";
}
std::string Tail(const std::string& input) {
  return "node { name: 'pool' input: '" + input + R"(' global_average_pool {} }
      node { name: 'flat' input: 'pool' flatten {} } node { name: 'fc' input: 'flat' linear { out_features: 5 } })";
}
std::string NodeOf(const std::string& name, const std::string& inputs, const std::string& op) {
  return "node { name: '" + name + "' " + inputs + " " + op + " } ";
}

// Compares the skipping plan in float with the reference plan in float64: logits, and each node's output.
void ExpectSameInference(const std::string& text) {
  SCOPED_TRACE(text);
  Network network;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network));
  const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(network);
  ASSERT_TRUE(info.ok()) << info.status().message();
  Model model = Model::Create(*info, at::kFloat, at::kCPU), exact = Model::Create(*info, at::kDouble, at::kCPU);
  double frequency = 0.3;
  for (const auto* list : {&model.parameters(), &model.buffers()}) {
    for (const NamedTensor& tensor : *list) {
      at::Tensor values = Values(tensor.tensor.sizes(), frequency += 0.01);
      if (absl::EndsWith(tensor.name, "running_var")) values = values.abs() + 0.5;
      tensor.tensor.detach().copy_(values);
      exact.Get(tensor.name).detach().copy_(tensor.tensor);
    }
  }
  std::map<std::string, at::Tensor> masks;
  masks["masked"] = (Values({24, 1, 1, 1}, 0.7).abs() > 0.5).to(at::kDouble);
  if (info->Index("masked") >= 0) {
    model.SetMasks(masks);
    exact.SetMasks(masks);
  }
  ForwardOptions capture;
  for (const Node& node : network.node()) capture.capture.insert(node.name());
  const at::NoGradGuard no_gradients;
  const int threads = at::get_num_threads();
  SkippingPlan skipping;
  ReferencePlan reference;
  for (const int64_t batch : {1, 2, 13}) {
    at::set_num_threads(batch % 2 + 1);
    const NodeShape& shape = info->input_shape();
    const at::Tensor images = Values({batch, shape.channels, shape.height, shape.width}, 0.37)
                                  .to(at::kFloat)
                                  .contiguous(at::MemoryFormat::ChannelsLast);
    const at::Tensor before = images.clone();
    const ForwardResult ours = skipping.Forward(model, images, {}), all = skipping.Forward(model, images, capture);
    EXPECT_TRUE(at::equal(images, before)) << "the images were written over";
    const ForwardResult expected = reference.Forward(exact, images.to(at::kDouble), capture);
    ExpectClose(ours.logits.to(at::kDouble), expected.logits, 1e-5, "logits");
    EXPECT_EQ(ours.executed_macs, info->MacCount());
    for (const auto& [name, tensor] : expected.captured) {
      ExpectClose(all.captured.at(name).to(at::kDouble), tensor, 1e-5, name);
    }
  }
  at::set_num_threads(threads);
}

TEST(SkippingPlanTest, ConvolutionsWithoutBatchNormEqualTheReferencePlan) {
  const std::string relu = "relu {}", add = "add {}", image = kImage;
  // A bias and nothing else; a convolution without one; filters and inputs that are no multiples of eight, in a row.
  ExpectSameInference(image + Conv3x3Node("a", "x", 16) + Tail("a"));
  ExpectSameInference(image + "node { name: 'a' input: 'x' conv2d { out_channels: 8 padding: 1 } }" + Tail("a"));
  ExpectSameInference(NodeOf("x", "", "image { channels: 3 height: 9 width: 5 }") + Conv3x3Node("a", "x", 5) +
                      NodeOf("b", "input: 'a'", relu) + Conv3x3Node("c", "b", 7) + NodeOf("d", "input: 'c'", relu) +
                      Conv3x3Node("e", "d", 3) + Tail("e"));
  ExpectSameInference(image + Conv3x3Node("masked", "x", 24) + NodeOf("b", "input: 'masked'", relu) + Tail("b"));
  // Sums: with the images, which stay; without a ReLU; with a stream that others read later; of two convolutions; of
  // three; of a node with itself; with fewer channels than eight.
  ExpectSameInference(image + Conv3x3Node("a", "x", 8) + NodeOf("b", "input: 'a' input: 'x'", add) + Tail("b"));
  ExpectSameInference(image + Conv3x3Node("a", "x", 16) + NodeOf("b", "input: 'a'", relu) + Conv3x3Node("c", "b", 16) +
                      NodeOf("d", "input: 'b' input: 'c'", add) + Conv3x3Node("e", "d", 16) +
                      NodeOf("f", "input: 'e' input: 'b'", add) + NodeOf("g", "input: 'f'", relu) + Tail("g"));
  ExpectSameInference(image + Conv3x3Node("a", "x", 16) + Conv3x3Node("b", "x", 16) +
                      NodeOf("c", "input: 'a' input: 'b'", add) + NodeOf("d", "input: 'c'", relu) + Tail("d"));
  ExpectSameInference(image + Conv3x3Node("a", "x", 8) + Conv3x3Node("b", "x", 8) +
                      NodeOf("c", "input: 'a' input: 'b' input: 'x'", add) + Tail("c"));
  ExpectSameInference(image + Conv3x3Node("a", "x", 8) + NodeOf("b", "input: 'a' input: 'a'", add) + Tail("b"));
  ExpectSameInference(image + Conv3x3Node("a", "x", 6) + NodeOf("b", "input: 'a'", relu) + Conv3x3Node("c", "b", 6) +
                      NodeOf("d", "input: 'c' input: 'b'", add) + Tail("d"));
  // Two readers of one convolution, one of them another convolution of a ragged number of channels.
  ExpectSameInference(image + Conv3x3Node("a", "x", 12) + NodeOf("b", "input: 'a'", relu) + Conv3x3Node("c", "a", 12) +
                      NodeOf("d", "input: 'b' input: 'c'", add) + Tail("d"));
}

// Streams whose channels are no multiple of eight, as coupled removal leaves them: they are kept filled up while only
// sums and convolutions of this kind read them.
TEST(SkippingPlanTest, NarrowStreamsEqualTheReferencePlan) {
  const std::string relu = "relu {}", add = "add {}", image = kImage;
  const auto block = [&](const std::string& name, const std::string& input, int inner, int stream) {
    return Conv3x3Node(name + "1", input, inner) + NodeOf(name + "2", "input: '" + name + "1'", relu) +
           Conv3x3Node(name + "3", name + "2", stream) +
           NodeOf(name + "4", "input: '" + name + "3' input: '" + input + "'", add) +
           NodeOf(name, "input: '" + name + "4'", relu);
  };
  const std::string strided = "conv2d { out_channels: 11 padding: 1 stride: 2 bias: true }";
  for (const int width : {1, 5, 13, 17}) {
    const std::string begin = image + Conv3x3Node("s", "x", width) + NodeOf("a", "input: 's'", relu) +
                              block("b", "a", 3, width) + block("c", "b", 9, width);
    ExpectSameInference(begin + Tail("c"));
    // A reader that takes no more channels than there are; a term that none of these convolutions wrote.
    ExpectSameInference(begin + NodeOf("d", "input: 'c'", strided) + block("e", "d", 7, 11) + block("f", "e", 2, 11) +
                        Tail("f"));
    ExpectSameInference(
        begin + NodeOf("d", "input: 'b'", strided) + NodeOf("p", "input: 'd'", "global_average_pool {}") +
        NodeOf("q", "input: 'p'",
               "conv2d { out_channels: " + std::to_string(width) + " kernel_height: 1 kernel_width: 1 }") +
        NodeOf("t", "input: 'c' input: 'q'", add) + block("u", "t", 4, width) + Tail("u"));
    // A stream that is read after it has been added, and one that is added twice.
    ExpectSameInference(begin + block("d", "c", 6, width) + NodeOf("t", "input: 'd' input: 'a'", add) + Tail("t"));
    ExpectSameInference(begin + Conv3x3Node("k", "c", width) + NodeOf("t", "input: 'k' input: 'b' input: 'a'", add) +
                        Tail("t"));
    // Scattered into a stream, with constants.
    const std::string index = width > 4 ? "0, 2, 4" : "0";
    ExpectSameInference(
        begin + Conv3x3Node("k", "c", width > 4 ? 3 : 1) +
        NodeOf("l", "input: 'k'", "scatter { channels: " + std::to_string(width) + " index: [" + index + "] }") +
        NodeOf("m", "", "constant { channels: " + std::to_string(width) + " height: 7 width: 6 }") +
        NodeOf("t", "input: 'l' input: 'c' input: 'm'", add) + NodeOf("v", "input: 't'", relu) +
        block("w", "v", 5, width) + Tail("w"));
  }
}

// In evaluation dropout passes on the tensor that it gets: that is one memory under two names. The maps are larger than
// what a thread computes at once.
TEST(SkippingPlanTest, WhatDropoutPassesOnIsNotWrittenOver) {
  const std::string image = NodeOf("x", "", "image { channels: 16 height: 20 width: 34 }");
  const std::string relu = "relu {}", add = "add {}", dropout = "dropout { probability: 0.5 }";
  const std::string begin =
      image + Conv3x3Node("a", "x", 16) + NodeOf("r", "input: 'a'", relu) + NodeOf("d", "input: 'r'", dropout);
  ExpectSameInference(begin + Conv3x3Node("c", "d", 16) + NodeOf("s", "input: 'r' input: 'c'", add) + Tail("s"));
  ExpectSameInference(begin + Conv3x3Node("c", "r", 16) + NodeOf("s", "input: 'd' input: 'c'", add) + Tail("s"));
  ExpectSameInference(begin + Conv3x3Node("c", "x", 16) + NodeOf("s", "input: 'd' input: 'c'", add) +
                      Conv3x3Node("e", "r", 16) + NodeOf("t", "input: 's' input: 'e'", add) + Tail("t"));
  ExpectSameInference(image + NodeOf("d", "input: 'x'", dropout) + Conv3x3Node("c", "x", 16) +
                      NodeOf("s", "input: 'd' input: 'c'", add) + Tail("s"));
}

// Such as the bias by global pooling of networks that play Go.
TEST(SkippingPlanTest, SumsThatRepeatOneTermAtEachPixelEqualTheReferencePlan) {
  const std::string image = kImage, add = "add {}", pool = "global_average_pool {}", norm = "batch_norm2d {}";
  const std::string pooled = Conv3x3Node("b", "x", 16) + NodeOf("p", "input: 'b'", pool);
  for (const char* terms : {"input: 'a' input: 'p'", "input: 'p' input: 'a'"}) {
    ExpectSameInference(image + Conv3x3Node("a", "x", 16) + pooled + NodeOf("s", terms, add) + Tail("s"));
  }
  for (const char* terms : {"input: 'n' input: 'p'", "input: 'p' input: 'n'"}) {
    ExpectSameInference(image + Conv3x3Node("a", "x", 16) + NodeOf("n", "input: 'a'", norm) + pooled +
                        NodeOf("s", terms, add) + NodeOf("r", "input: 's'", "relu {}") + Tail("r"));
  }
  ExpectSameInference(image + Conv3x3Node("a", "x", 16) + pooled + NodeOf("n", "input: 'p'", norm) +
                      NodeOf("s", "input: 'n' input: 'a'", add) + Tail("s"));
}

TEST(SkippingPlanTest, DepthwiseConvolutionsWithTheirClipEqualTheReferencePlan) {
  const std::string image = kImage;
  const char* const clip = "elementwise { function: CLIP low: -0.1 high: 0.2 }";
  for (const char* window : {"padding: 1", "kernel_width: 5 pads: [1, 2, 0, 2]", "stride: 2 padding: 1",
                             "dilation: 2 padding: 2", "kernel_height: 1 kernel_width: 1"}) {
    for (const char* after : {"relu {}", clip, "elementwise { function: SILU }"}) {
      for (const bool bias : {false, true}) {
        const std::string conv = NodeOf(
            "a", "input: 'x'",
            std::string("conv2d { out_channels: 8 groups: 8 bias: ") + (bias ? "true " : "false ") + window + " }");
        ExpectSameInference(image + conv + NodeOf("b", "input: 'a'", after) + Tail("b"));
        // Two readers.
        ExpectSameInference(image + conv + NodeOf("b", "input: 'a'", after) +
                            NodeOf("c", "input: 'a' input: 'b'", "add {}") + Tail("c"));
      }
    }
  }
}

TEST(SkippingPlanTest, ScattersAndConstantsBehindConvolutionsEqualTheReferencePlan) {
  const std::string relu = "relu {}", add = "add {}", image = kImage;
  const std::string stream =
      image + Conv3x3Node("s", "x", 16) + NodeOf("stream", "input: 's'", relu) + Conv3x3Node("a", "stream", 5);
  const std::string picture = NodeOf("picture", "", "constant { channels: 5 height: 7 width: 6 }");
  const std::string borders = NodeOf(
      "borders", "", "constant { channels: 5 height: 7 width: 6 row_repeats: [1, 5, 1] column_repeats: [1, 4, 1] }");
  const std::string wide = NodeOf("wide", "", "constant { channels: 16 height: 7 width: 6 }");
  const std::string uniform = NodeOf("uniform", "", "constant { channels: 16 }");
  const auto scatter = [](const std::string& from, const std::string& index) {
    return NodeOf("scatter", "input: '" + from + "'", "scatter { channels: 16 index: [" + index + "] }");
  };
  const std::string sorted = "1, 2, 9, 11, 15", unsorted = "9, 2, 1, 11, 15";
  for (const std::string& index : {sorted, unsorted}) {
    ExpectSameInference(stream + scatter("a", index) + NodeOf("b", "input: 'scatter' input: 'stream'", add) +
                        NodeOf("c", "input: 'b'", relu) + Tail("c"));
    ExpectSameInference(stream + borders + NodeOf("b", "input: 'a' input: 'borders'", add) + scatter("b", index) +
                        uniform + NodeOf("c", "input: 'stream' input: 'scatter' input: 'uniform'", add) +
                        NodeOf("d", "input: 'c'", relu) + Conv3x3Node("e", "d", 9) + Tail("e"));
  }
  ExpectSameInference(stream + picture + NodeOf("b", "input: 'picture' input: 'a'", add) +
                      NodeOf("c", "input: 'b'", relu) + Conv3x3Node("d", "c", 4) + Tail("d"));
  ExpectSameInference(stream + scatter("a", sorted) + wide + NodeOf("b", "input: 'scatter' input: 'wide'", add) +
                      NodeOf("c", "input: 'b' input: 'stream'", add) + NodeOf("d", "input: 'c'", relu) +
                      NodeOf("e", "input: 'd' input: 'stream'", add) + Tail("e"));
  ExpectSameInference(stream + scatter("a", sorted) + NodeOf("b", "input: 'scatter'", relu) + Tail("b"));
}

// Only in float are there kernels of the project's own, and only without BN folded convolutions.
TEST(SkippingPlanTest, UnevenWindowsAreNotTakenForEvenOnesInFloat) {
  for (const NetworkInfo& uneven : UnevenConvolutions()) {
    SCOPED_TRACE(uneven.node(uneven.Index("conv")).ShortDebugString());
    Network without_norms = uneven.network();
    for (Node& node : *without_norms.mutable_node()) {
      if (node.has_batch_norm2d()) node.mutable_relu();
    }
    for (const NetworkInfo& info : {uneven, *NetworkInfo::Create(without_norms)}) {
      Model exact = MakeModel(info), model = Model::Create(info, at::kFloat, at::kCPU);
      for (const auto* list : {&model.parameters(), &model.buffers()}) {
        for (const NamedTensor& tensor : *list) tensor.tensor.detach().copy_(exact.Get(tensor.name));
      }
      const at::Tensor images = Values({6, 8, 9, 9}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
      ReferencePlan reference;
      SkippingPlan skipping;
      {
        const at::NoGradGuard no_gradients;
        ExpectClose(skipping.Forward(model, images.to(at::kFloat), {}).logits.to(at::kDouble),
                    reference.Forward(exact, images, {}).logits, 1e-5, "evaluation");
      }
      const Outcome expected = Step(reference, exact, images, {}),
                    ours = Step(skipping, model, images.to(at::kFloat), {});
      ExpectClose(ours.logits.to(at::kDouble), expected.logits, 1e-4, "logits");
      for (size_t i = 0; i < expected.gradients.size(); ++i) {
        ExpectClose(ours.gradients[i].to(at::kDouble), expected.gradients[i], 1e-3, model.parameters()[i].name);
      }
    }
  }
}

// Only in float are there kernels for depthwise and for 3x3 convolutions that stand by themselves. A step's logits and
// gradients, and an evaluation after it, are as near to float64 as those of the reference plan in float.
TEST(SkippingPlanTest, ConvolutionsByThemselvesEqualTheReferencePlanInFloat) {
  for (const char* text : {"MobileNetV2] { stem: CIFAR width_multiplier: 0.5 image_size: 16 }",
                           "DenseNet] { stem: CIFAR depth: 22 growth: 8 image_size: 16 }",
                           "EfficientNet] { stem: CIFAR width_multiplier: 0.5 depth_multiplier: 0.4 image_size: 16 }",
                           "ConvNeXt] { stem: CIFAR width_multiplier: 0.2 depth_multiplier: 0.3 image_size: 16 }"}) {
    const NetworkInfo info = Build(text);
    const at::Tensor images = Values({6, 3, 16, 16}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
    for (const double rate : {0.0, 0.5}) {
      SCOPED_TRACE(std::string(text) + " rate " + std::to_string(rate));
      // Logits, all gradients, the logits of an evaluation.
      const auto results = [&](Plan& plan, at::ScalarType dtype) {
        const Model values = MakeModel(info);
        Model model = Model::Create(info, dtype, at::kCPU);
        for (const auto* list : {&model.parameters(), &model.buffers()}) {
          for (const NamedTensor& tensor : *list) tensor.tensor.detach().copy_(values.Get(tensor.name));
        }
        if (rate > 0) model.SetMasks(SomeMasks(info, rate));
        const Outcome outcome = Step(plan, model, images.to(dtype), {});
        std::vector<at::Tensor> gradients;
        for (const at::Tensor& gradient : outcome.gradients) gradients.push_back(gradient.to(at::kDouble).flatten());
        const at::NoGradGuard no_gradients;
        return std::vector<at::Tensor>{outcome.logits.to(at::kDouble), at::cat(gradients),
                                       plan.Forward(model, images.to(dtype), {}).logits.to(at::kDouble)};
      };
      ReferencePlan reference;
      SkippingPlan skipping;
      const std::vector<at::Tensor> exact = results(reference, at::kDouble), plain = results(reference, at::kFloat),
                                    ours = results(skipping, at::kFloat);
      for (size_t k = 0; k < exact.size(); ++k) {
        const auto distance = [&](const at::Tensor& from) {
          return (from - exact[k]).norm().item<double>() / exact[k].norm().item<double>();
        };
        EXPECT_LT(distance(plain[k]), 0.05) << k << ": too sensitive a network";
        EXPECT_LT(distance(ours[k]), 5 * distance(plain[k]) + 1e-6) << k;
      }
    }
  }
}

TEST(SkippingPlanTest, RepeatsBitForBit) {
  const NetworkInfo info = Build(kResNet20);
  const at::Tensor images = Values({6, 3, 8, 8}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
  std::vector<Outcome> outcomes;
  for (int i = 0; i < 2; ++i) {
    Model model = MakeModel(info);
    model.SetMasks(SomeMasks(info, 0.6));
    SkippingPlan plan;
    outcomes.push_back(Step(plan, model, images, {}));
  }
  for (size_t i = 0; i < outcomes[0].gradients.size(); ++i) {
    EXPECT_TRUE(at::equal(outcomes[0].gradients[i], outcomes[1].gradients[i]));
  }
}

}  // namespace
}  // namespace prunelab
