#include "ml/quantization/quantized_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <string>
#include <vector>

#include "ml/compression/compressed_model.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/compression/testing/random_models.h"
#include "ml/network/fake_quantize.h"
#include "ml/network/network_writer.h"
#include "ml/quantization/integer_network.h"
#include "ml/quantization/quantization_values.h"

namespace prunelab {
namespace {

using testing::HasSubstr;
using testing::Key;
using testing::UnorderedElementsAre;

// conv1-bn1-relu1-conv2-bn2-(+ relu1)-relu2-flat-fc.
NetworkInfo Residual() {
  NetworkWriter net;
  const std::string x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", net.Image(2, 5, 5), {3, 3, 1, 1})));
  const std::string y = net.BatchNorm("bn2", net.Conv("conv2", x, {3, 3, 1, 1}));
  net.Linear("fc", net.Flatten("flat", net.Relu("relu2", net.Add("add", {x, y}))), 4);
  return *NetworkInfo::Create(net.Take());
}

// The parameters that tools/reference/quantization_values.py has, too.
Model ResidualModel() {
  Model model = Model::Create(Residual(), at::kDouble, at::kCPU);
  for (size_t i = 0; i < model.parameters().size(); ++i) {
    const NamedTensor& parameter = model.parameters()[i];
    const bool gamma = parameter.name == "bn1.weight" || parameter.name == "bn2.weight";
    const at::Tensor k = at::arange(parameter.tensor.numel(), at::kDouble);
    parameter.tensor.detach().copy_(
        ((k * 0.37 + static_cast<double>(1 + i)).sin() * 0.5 + (gamma ? 1.0 : 0.0)).view(parameter.tensor.sizes()));
  }
  model.Get("bn1.running_var").copy_(at::tensor({0.5, 2.0, 1.25}, at::kDouble));
  model.Get("bn2.running_var").copy_(at::tensor({3.0, 0.25, 1.0}, at::kDouble));
  return model;
}

at::Tensor Images(int64_t count = 2) {
  return at::arange(count * 50, at::kDouble).mul(0.9).sin().mul(1.5).view({count, 2, 5, 5});
}

ForwardOptions Train() {
  ForwardOptions options;
  options.mode = Mode::kTrain;
  return options;
}

TEST(QuantizedTrainingTest, AStepIsPyTorchs) {
  for (const TrainingStepValue& value : kTrainingStepValues) {
    Model model = ResidualModel();
    TrainingQuantization options;
    options.weight_bits = options.activation_bits = value.bits;
    options.per_channel = value.per_channel;
    QuantizedTrainingPlan plan(model, options);
    plan.set_rounding(true);
    const at::Tensor logits = plan.Forward(model, Images(), Train()).logits;
    const at::Tensor loss = (logits * at::arange(8, at::kDouble).cos().view({2, 4})).sum();
    std::vector<at::Tensor> parameters;
    for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
    const auto gradients = torch::autograd::grad({loss}, parameters);
    EXPECT_NEAR(loss.item<double>(), value.sums[0], 1e-9 * std::abs(value.sums[0])) << value.bits;
    ASSERT_EQ(gradients.size(), 8u);
    for (size_t i = 0; i < gradients.size(); ++i) {
      const at::Tensor flat = gradients[i].flatten(), k = at::arange(flat.size(0), at::kDouble);
      const double tolerance = 1e-9 * (1 + flat.norm().item<double>());
      const auto what = [&] { return model.parameters()[i].name + " " + std::to_string(value.bits); };
      EXPECT_NEAR((flat * k.cos()).sum().item<double>(), value.sums[1 + 2 * i], tolerance) << what();
      EXPECT_NEAR((flat * (2 * k + 1).sin()).sum().item<double>(), value.sums[2 + 2 * i], tolerance) << what();
    }
  }
}

TEST(QuantizedTrainingTest, WithoutRoundingAStepIsThatOfTheReferencePlan) {
  Model model = ResidualModel(), other = ResidualModel();
  model.SetMasks({{"conv2", at::tensor({1.0, 0.0, 1.0}, at::kDouble).view({3, 1, 1, 1})}});
  other.SetMasks(model.masks());
  QuantizedTrainingPlan plan(model, {});
  const ForwardResult ours = plan.Forward(model, Images(), Train());
  const ForwardResult reference = ReferencePlan().Forward(other, Images(), Train());
  EXPECT_TRUE(at::equal(ours.logits, reference.logits));
  EXPECT_EQ(ours.executed_macs, reference.executed_macs);
  EXPECT_THAT(plan.ranges(), UnorderedElementsAre(Key("image"), Key("relu1"), Key("bn2"), Key("relu2")));
}

TEST(QuantizedTrainingTest, RangesAreMovingAveragesWithZero) {
  Model model = ResidualModel();
  TrainingQuantization options;
  options.range_momentum = 0.25;
  QuantizedTrainingPlan plan(model, options);
  EXPECT_THAT(plan.Quantized(model).status().message(), HasSubstr("no batch has shown the range of node \""));
  plan.Forward(model, Images() * 2 + 1, Train());
  plan.Forward(model, Images() + 5, Train());
  plan.Forward(model, Images() * 1000, {});  // evaluations are not observed
  const at::Tensor first = Images() * 2 + 1, second = Images() + 5;
  const at::Tensor& range = plan.ranges().at("image");
  EXPECT_NEAR(range[0].item<double>(), 0.75 * first.min().item<double>(), 1e-12);  // the second batch has none below 0
  EXPECT_NEAR(range[1].item<double>(), 0.75 * first.max().item<double>() + 0.25 * second.max().item<double>(), 1e-12);
  EXPECT_EQ(range[2].item<double>(), 2);
  EXPECT_EQ(plan.ranges().at("relu1")[0].item<double>(), 0);
}

// In evaluation the plan computes what the quantized network does, but for biases, which that rounds to multiples of
// tiny steps.
TEST(QuantizedTrainingTest, TheQuantizedNetworkIsWhatWasTrained) {
  for (const bool per_channel : {true, false}) {
    Model model = ResidualModel();
    model.SetMasks({{"conv2", at::tensor({1.0, 0.0, 1.0}, at::kDouble).view({3, 1, 1, 1})}});
    TrainingQuantization options;
    options.per_channel = per_channel;
    QuantizedTrainingPlan plan(model, options);
    for (int step = 0; step < 40; ++step) plan.Forward(model, Images(8), Train());
    plan.set_rounding(true);
    const at::NoGradGuard no_gradients;
    const at::Tensor trained = plan.Forward(model, Images(8), {}).logits;
    const absl::StatusOr<WeightedNetwork> network = plan.Quantized(model);
    ASSERT_TRUE(network.ok()) << network.status();
    const auto logits_of = [&](const WeightedNetwork& weighted) {
      Model quantized = ToModel(weighted, at::kCPU);
      return ReferencePlan().Forward(quantized, Images(8), {}).logits;
    };
    const double largest = trained.abs().max().item<double>();
    const at::Tensor logits = logits_of(*network);
    // At most a few values take another place on their grid.
    EXPECT_LT((logits - trained).abs().max().item<double>(), 0.02 * largest);
    WeightedNetwork folded = *ToWeightedNetwork(model), exact = *network;
    FoldBatchNormAfterConvolutions(folded);
    for (const char* layer : {"conv1", "conv2", "fc"}) exact.Set(layer, "bias", folded.Get(layer, "bias"));
    EXPECT_LT((logits_of(exact) - trained).abs().median().item<double>(), 1e-6 * largest);
    const absl::StatusOr<IntegerNetwork> integers = IntegerNetwork::Create(*network);
    ASSERT_TRUE(integers.ok()) << integers.status();
    EXPECT_LT((integers->Run(Images(8), {}).results[0] - logits).abs().max().item<double>(), 0.02 * largest);
    EXPECT_TRUE((network->Get("conv2", "weight")[1] == 0).all().item<bool>());
    const at::Tensor scale = network->Get("conv1", "weight_scale");
    EXPECT_EQ((scale == scale[0]).all().item<bool>(), !per_channel);
  }
}

// The values that are rounded in training are those that lie on grids afterwards.
TEST(QuantizedTrainingTest, RandomNetworksTrainAndAreQuantized) {
  for (uint64_t seed = 0; seed < 150; ++seed) {
    SCOPED_TRACE(seed);
    const NetworkInfo info = *NetworkInfo::Create(RandomNetwork(seed));
    Model model = RandomModel(info, at::kFloat, seed);
    SetRandomMasks(model, MaskKind::kUniform, seed);
    QuantizedTrainingPlan plan(model, {});
    const NodeShape& shape = info.input_shape();
    const at::Tensor images = at::arange(4 * shape.channels * shape.height * shape.width, at::kDouble)
                                  .mul(0.7)
                                  .sin()
                                  .view({4, shape.channels, shape.height, shape.width})
                                  .to(at::kFloat);
    plan.Forward(model, images, Train());
    plan.set_rounding(true);
    const at::Tensor logits = plan.Forward(model, images, Train()).logits;
    if (logits.requires_grad()) {
      const at::Tensor loss = logits.nan_to_num().sum();
      loss.backward();
    }
    const absl::StatusOr<WeightedNetwork> network = plan.Quantized(model);
    ASSERT_TRUE(network.ok()) << network.status();
    int grids = 0;
    for (const Node& node : network->network.node()) grids += node.has_fake_quantize();
    EXPECT_EQ(static_cast<size_t>(grids), plan.ranges().size());
  }
}

}  // namespace
}  // namespace prunelab
