// A network that names several outputs returns what capturing their nodes would, by every plan.
#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ml/execution/bfloat16_plan.h"
#include "ml/execution/fused_plan.h"
#include "ml/execution/latency.h"
#include "ml/execution/skipping_plan.h"
#include "ml/execution/testing/plan_comparison.h"

namespace prunelab {
namespace {

// ReLUs and BNs inside of what plans fuse, sums, the logits and the images.
const std::vector<std::string> kOutputs = {"fc",           "layer1.0.relu1", "layer2.0.bn2", "layer3.1.conv1",
                                           "layer3.2.add", "image",          "flatten"};

NetworkInfo WithOutputs(const std::vector<std::string>& outputs) {
  Network network = Build(kResNet20).network();
  for (const std::string& output : outputs) network.add_output(output);
  const absl::StatusOr<NetworkInfo> info = NetworkInfo::Create(network);
  EXPECT_TRUE(info.ok()) << info.status();
  return *info;
}

std::vector<std::unique_ptr<Plan>> Plans() {
  std::vector<std::unique_ptr<Plan>> plans;
  plans.push_back(std::make_unique<ReferencePlan>());
  plans.push_back(std::make_unique<SkippingPlan>());
  plans.push_back(std::make_unique<FusedPlan>());
  return plans;
}

TEST(ResultsTest, AreTheValuesOfTheirNodes) {
  const NetworkInfo plain = Build(kResNet20), several = WithOutputs(kOutputs);
  EXPECT_EQ(several.classes(), 10);
  const at::Tensor images = Values({6, 3, 8, 8}, 0.37).contiguous(at::MemoryFormat::ChannelsLast);
  for (const Mode mode : {Mode::kEvaluate, Mode::kTrain}) {
    ForwardOptions options, capture;
    options.mode = capture.mode = mode;
    capture.capture.insert(kOutputs.begin(), kOutputs.end());
    Model model = MakeModel(plain);
    model.SetMasks(SomeMasks(plain, 0.6));
    ReferencePlan reference;
    const at::AutoGradMode gradients(mode == Mode::kTrain);
    const ForwardResult expected = reference.Forward(model, images, capture);
    ASSERT_EQ(expected.results.size(), 1);
    EXPECT_TRUE(at::equal(expected.results[0], expected.logits));
    const auto parameters = [](const Model& of) {
      std::vector<at::Tensor> tensors;
      for (const NamedTensor& parameter : of.parameters()) tensors.push_back(parameter.tensor);
      return tensors;
    };
    std::vector<at::Tensor> values;
    for (const std::string& name : kOutputs) values.push_back(expected.captured.at(name));
    const auto gradients_of = [&](const std::vector<at::Tensor>& results, const Model& of) {
      at::Tensor sum = results[0].square().sum();
      for (const at::Tensor& result : results) sum = sum + 0.1 * (result - 0.3).square().mean();
      return torch::autograd::grad({sum}, parameters(of), {}, /*retain_graph=*/true);
    };
    for (const std::unique_ptr<Plan>& plan : Plans()) {
      Model other = MakeModel(several);
      other.SetMasks(SomeMasks(several, 0.6));
      const ForwardResult ours = plan->Forward(other, images, options);
      EXPECT_TRUE(ours.captured.empty());
      ASSERT_EQ(ours.results.size(), kOutputs.size());
      EXPECT_TRUE(ours.logits.is_same(ours.results[0]));
      for (size_t k = 0; k < kOutputs.size(); ++k) ExpectClose(ours.results[k], values[k], 1e-10, kOutputs[k]);
      if (mode == Mode::kEvaluate) continue;
      const std::vector<at::Tensor> our_gradients = gradients_of(ours.results, other);
      const std::vector<at::Tensor> expected_gradients = gradients_of(values, model);
      for (size_t i = 0; i < our_gradients.size(); ++i) {
        ExpectClose(our_gradients[i], expected_gradients[i], 1e-9, other.parameters()[i].name);
      }
    }
  }
}

TEST(ResultsTest, WhatIsCapturedIsReturnedBesides) {
  Model model = MakeModel(WithOutputs({"layer1.0.relu1", "fc"}));
  EXPECT_FALSE(model.info().CheckLogits().ok());
  ForwardOptions options;
  options.capture = {"layer1.0.relu1", "relu"};
  const at::NoGradGuard no_gradients;
  const ForwardResult result = SkippingPlan().Forward(model, Values({2, 3, 8, 8}, 0.37), options);
  EXPECT_EQ(result.captured.size(), 2);
  EXPECT_TRUE(at::equal(result.captured.at("layer1.0.relu1"), result.logits));
  EXPECT_EQ(result.results[1].sizes(), at::IntArrayRef({2, 10}));
  EXPECT_EQ(model.info().ResultName(0), "logits");
  EXPECT_EQ(model.info().ResultName(1), "fc");
}

TEST(ResultsTest, NamesOfResultsDiffer) {
  Network network;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    node { name: "image" image { channels: 2 height: 3 width: 3 } }
    node { name: "features" input: "image" flatten {} }
    node { name: "logits" input: "features" linear { out_features: 2 } }
    output: "features" output: "logits")",
                                                            &network));
  const NetworkInfo info = *NetworkInfo::Create(network);
  EXPECT_EQ(info.ResultName(0), "logits");
  EXPECT_EQ(info.ResultName(1), "logits.result");
}

// Such as a segmentation's, which is no row of logits.
TEST(ResultsTest, ANetworkWhoseOutputIsAMapHasALatency) {
  Model model = MakeModel(WithOutputs({"layer1.0.relu1"}));
  const std::vector<Latency> latencies = MeasureLatencies({&model}, 2, 3, 1);
  ASSERT_EQ(latencies.size(), 1);
  EXPECT_GT(latencies[0].median, 0);
}

TEST(ResultsTest, AConstantIsReturnedForEachImage) {
  Network network;
  ASSERT_TRUE(google::protobuf::TextFormat::ParseFromString(R"(
    node { name: "image" image { channels: 2 height: 3 width: 3 } }
    node { name: "stored" constant { channels: 1 height: 3 width: 2 } }
    node { name: "flat" input: "stored" flatten {} }
    output: "image" output: "flat" output: "stored")",
                                                            &network));
  Model model = Model::Create(*NetworkInfo::Create(network), at::kFloat, at::kCPU);
  model.Get("stored.value").copy_(at::arange(6, at::kFloat).view({1, 3, 2}));
  for (const bool bfloat16 : {false, true}) {
    const at::NoGradGuard no_gradients;
    const at::Tensor images = at::ones({4, 2, 3, 3});
    const ForwardResult result =
        bfloat16 ? Bfloat16Plan().Forward(model, images, {}) : ReferencePlan().Forward(model, images, {});
    ASSERT_EQ(result.results.size(), 3);
    EXPECT_TRUE(at::equal(result.results[0], images));
    EXPECT_TRUE(at::equal(result.results[1], at::arange(6, at::kFloat).expand({4, 6})));
    EXPECT_EQ(result.results[2].sizes(), at::IntArrayRef({4, 1, 3, 2}));
  }
}

}  // namespace
}  // namespace prunelab
