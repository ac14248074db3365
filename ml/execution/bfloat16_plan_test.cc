#include "ml/execution/bfloat16_plan.h"

#include <ATen/ATen.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

Network SmallNetwork() {
  NetworkWriter net;
  net.Image(2, 6, 6);
  net.Conv("conv1", "image", {4, 3, 1, 1});
  net.BatchNorm("bn1", "conv1");
  net.Relu("relu1", "bn1");
  net.Conv("conv2", "relu1", {4, 3, 1, 1, true});
  net.Add("add", {"conv2", "relu1"});
  net.GlobalAveragePool("pool", "add");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return net.Take();
}

Model FreshModel(at::ScalarType dtype = at::kFloat) {
  Model model = Model::Create(*NetworkInfo::Create(SmallNetwork()), dtype, at::kCPU);
  InitializeParameters(model, 5);
  // BN and biases with values as after some training.
  const at::NoGradGuard no_gradients;
  model.Get("bn1.weight").copy_(at::tensor({1.1, 0.7, -0.4, 1.9}));
  model.Get("bn1.bias").copy_(at::tensor({0.3, -0.2, 0.1, 0.05}));
  model.Get("conv2.bias").copy_(at::tensor({0.11, -0.73, 0.37, 0.019}));
  return model;
}

at::Tensor Images() {
  return (at::arange(8 * 2 * 36, at::kFloat) * 37 % 251 / 125 - 1)
      .view({8, 2, 6, 6})
      .contiguous(at::MemoryFormat::ChannelsLast);
}

ForwardOptions TrainOptions() {
  ForwardOptions options;
  options.mode = Mode::kTrain;
  return options;
}

// To the nearest bfloat16, as float32.
at::Tensor Rounded(const at::Tensor& x) { return x.detach().to(at::kBFloat16).to(at::kFloat); }

// Whether each number is the nearest bfloat16 to its exact value, or a neighbour if that value is near the middle.
void ExpectRounding(const at::Tensor& actual, const at::Tensor& exact, const char* node) {
  EXPECT_EQ(actual.scalar_type(), at::kFloat) << node;
  EXPECT_TRUE(at::equal(actual, Rounded(actual))) << node << " was not stored as bfloat16";
  // Half of a step is at most 2^-8 of the number; sums in another order may be rounded to the other side.
  const at::Tensor allowed = exact.abs() * 0.0041 + 1e-5;
  EXPECT_TRUE(((actual.detach() - exact).abs() <= allowed).all().item<bool>())
      << node << ": " << (actual.detach() - exact).abs().max();
}

// Computes each node from the activations before it, in float32 arithmetic with autocast's roundings.
TEST(Bfloat16PlanTest, EachNodeRoundsAsAutocastDoes) {
  Model model = FreshModel();
  model.SetMasks({{"conv1", at::tensor({1.0F, 0.0F, 1.0F, 1.0F}).view({4, 1, 1, 1})}});
  ForwardOptions options = TrainOptions();
  options.capture = {"conv1", "bn1", "relu1", "conv2", "add", "pool"};
  Bfloat16Plan plan;
  const ForwardResult result = plan.Forward(model, Images(), options);
  const auto at = [&](const char* node) { return result.captured.at(node).detach(); };

  const at::Tensor conv1 = at::conv2d(Rounded(Images()), Rounded(model.MaskedWeight("conv1")), {}, 1, 1);
  ExpectRounding(result.captured.at("conv1"), conv1, "conv1");
  EXPECT_EQ(at("conv1").select(1, 1).abs().max().item<float>(), 0);

  const at::Tensor mean = at("conv1").mean({0, 2, 3}), variance = at("conv1").var({0, 2, 3}, /*unbiased=*/false);
  const auto of_channels = [](const at::Tensor& x) { return x.detach().view({1, -1, 1, 1}); };
  const at::Tensor bn =
      of_channels(model.Get("bn1.weight")) * (at("conv1") - of_channels(mean)) / (of_channels(variance) + 1e-5).sqrt() +
      of_channels(model.Get("bn1.bias"));
  ExpectRounding(result.captured.at("bn1"), bn, "bn1");
  // Statistics are those of the rounded activations, but are not rounded themselves.
  EXPECT_TRUE(at::allclose(model.Get("bn1.running_mean"), 0.1 * mean, 1e-5, 1e-6));
  EXPECT_TRUE(at::allclose(model.Get("bn1.running_var"), 0.9 + 0.1 * variance * 288 / 287, 1e-5, 1e-6));
  EXPECT_EQ(model.Get("bn1.running_mean").scalar_type(), at::kFloat);

  EXPECT_TRUE(at::equal(at("relu1"), at("bn1").relu()));
  const at::Tensor conv2 = at::conv2d(at("relu1"), Rounded(model.Get("conv2.weight")), {}, 1, 1) +
                           of_channels(Rounded(model.Get("conv2.bias")));
  // Without instructions for bfloat16 the sum is rounded before the bias is added, too.
  EXPECT_TRUE(at::allclose(at("conv2"), conv2, 0.0041, 0.0041 * conv2.abs().max().item<double>()));
  ExpectRounding(result.captured.at("add"), at("conv2") + at("relu1"), "add");
  ExpectRounding(result.captured.at("pool"), at("add").mean({2, 3}, /*keepdim=*/true), "pool");
  const at::Tensor logits =
      at::linear(at("pool").flatten(1), Rounded(model.Get("fc.weight")), Rounded(model.Get("fc.bias")));
  EXPECT_EQ(result.logits.scalar_type(), at::kFloat);
  EXPECT_TRUE(at::equal(result.logits, Rounded(result.logits)));
  EXPECT_TRUE(at::allclose(result.logits.detach(), logits, 0.0041, 0.0041 * logits.abs().max().item<double>()));
}

// Gradients are those of the float32 plan, except for bfloat16's rounding; parameters stay float32.
TEST(Bfloat16PlanTest, GradientsAreFloat32sUpToRounding) {
  const at::Tensor labels = at::arange(8, at::kLong) % 3;
  for (const GradientPolicy policy : {GradientPolicy::kStraightThrough, GradientPolicy::kMasked}) {
    Model narrow = FreshModel(), wide = FreshModel();
    ForwardOptions options = TrainOptions();
    options.policy = policy;
    const auto gradients = [&](Plan& plan, Model& model) {
      model.SetMasks({{"conv2", at::tensor({1.0F, 0.0F, 1.0F, 1.0F}).view({4, 1, 1, 1})}});
      std::vector<at::Tensor> parameters;
      for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
      const at::Tensor loss = at::cross_entropy_loss(plan.Forward(model, Images(), options).logits, labels);
      return torch::autograd::grad({loss}, parameters);
    };
    Bfloat16Plan bfloat16;
    ReferencePlan float32;
    const std::vector<at::Tensor> actual = gradients(bfloat16, narrow), expected = gradients(float32, wide);
    for (size_t i = 0; i < actual.size(); ++i) {
      const std::string& name = narrow.parameters()[i].name;
      EXPECT_EQ(narrow.parameters()[i].tensor.scalar_type(), at::kFloat) << name;
      EXPECT_EQ(actual[i].scalar_type(), at::kFloat) << name;
      const double error = (actual[i] - expected[i]).norm().item<double>() / expected[i].norm().item<double>();
      EXPECT_LT(error, 0.1) << name;
      EXPECT_GT(error, 1e-6) << name << " was not computed in bfloat16";
      if (name != "conv2.weight") continue;
      EXPECT_EQ(actual[i][1].abs().max().item<float>() == 0, policy == GradientPolicy::kMasked);
    }
  }
}

TEST(Bfloat16PlanTest, LeavesNothingSwitchedOn) {
  Model model = FreshModel();
  Bfloat16Plan plan;
  plan.Forward(model, Images(), TrainOptions());
  EXPECT_FALSE(at::autocast::is_autocast_enabled(at::kCPU));
  EXPECT_TRUE(at::autocast::is_autocast_cache_enabled());
  ReferencePlan reference;
  Model fresh = FreshModel();
  const at::Tensor logits = reference.Forward(fresh, Images(), TrainOptions()).logits;
  EXPECT_FALSE(at::equal(logits, Rounded(logits)));
}

TEST(Bfloat16PlanTest, RepeatsBitForBit) {
  Bfloat16Plan plan;
  Model first = FreshModel(), second = FreshModel();
  const at::Tensor logits = plan.Forward(first, Images(), TrainOptions()).logits;
  EXPECT_TRUE(at::equal(logits, plan.Forward(second, Images(), TrainOptions()).logits));
  EXPECT_TRUE(at::equal(first.Get("bn1.running_var"), second.Get("bn1.running_var")));
}

TEST(Bfloat16PlanDeathTest, AutocastWouldLeaveFloat64Alone) {
  Model model = FreshModel(at::kDouble);
  Bfloat16Plan plan;
  EXPECT_DEATH(plan.Forward(model, Images().to(at::kDouble), TrainOptions()), "a model of Double");
}

}  // namespace
}  // namespace prunelab
