#include "ml/execution/plan.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <utility>

#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A residual network with every node that a builder uses.
Network ResidualNetwork() {
  NetworkWriter net;
  net.Image(2, 6, 6);
  net.Conv("conv1", "image", {4, 3, 1, 1});
  net.BatchNorm("bn1", "conv1");
  net.Relu("relu", "bn1");
  net.Conv("conv2", "relu", {6, 3, 2, 1, true});
  net.BatchNorm("bn2", "conv2");
  net.AveragePool("sub", "relu", 1, 2);
  net.Scatter("pad", "sub", 6, {1, 2, 3, 4});
  net.Add("add", {"bn2", "pad"});
  net.MaxPool("pool", "add", 2, 1);
  net.GlobalAveragePool("avgpool", "pool");
  net.Flatten("flat", "avgpool");
  net.Linear("fc", "flat", 3);
  return net.Take();
}

Model MakeModel() {
  Model model = Model::Create(*NetworkInfo::Create(ResidualNetwork()), at::kDouble, at::kCPU);
  InitializeParameters(model, 5);
  return model;
}

at::Tensor Images(int64_t n) { return at::linspace(-1, 1, n * 2 * 36, at::kDouble).mul(40).sin().view({n, 2, 6, 6}); }

// The same network written out in plain ATen calls.
at::Tensor ByHand(const Model& m, const at::Tensor& images, bool train) {
  const auto bn = [&](const at::Tensor& x, const std::string& name) {
    const at::Tensor mean = train ? x.mean({0, 2, 3}) : m.Get(name + ".running_mean");
    const at::Tensor var = train ? x.var({0, 2, 3}, /*unbiased=*/false) : m.Get(name + ".running_var");
    const auto channel = [](const at::Tensor& v) { return v.view({1, -1, 1, 1}); };
    return (x - channel(mean)) / (channel(var) + 1e-5).sqrt() * channel(m.Get(name + ".weight")) +
           channel(m.Get(name + ".bias"));
  };
  const at::Tensor relu = at::relu(bn(at::conv2d(images, m.Get("conv1.weight"), {}, 1, 1), "bn1"));
  const at::Tensor branch = bn(at::conv2d(relu, m.Get("conv2.weight"), m.Get("conv2.bias"), 2, 1), "bn2");
  const at::Tensor shortcut = at::constant_pad_nd(relu.slice(2, 0, 6, 2).slice(3, 0, 6, 2), {0, 0, 0, 0, 1, 1});
  const at::Tensor pooled = at::max_pool2d(branch + shortcut, 2, 1);
  return at::linear(pooled.mean({2, 3}), m.Get("fc.weight"), m.Get("fc.bias"));
}

TEST(ReferencePlanTest, LogitsEqualTheNetworkWrittenOut) {
  Model model = MakeModel();
  ReferencePlan plan;
  const at::Tensor images = Images(5);
  ForwardOptions train;
  train.mode = Mode::kTrain;
  const at::Tensor expected = ByHand(model, images, true);
  EXPECT_LT((plan.Forward(model, images, train).logits - expected).abs().max().item<double>(), 1e-12);
  // After that step the running statistics are no longer 0 and 1.
  EXPECT_LT((plan.Forward(model, images, {}).logits - ByHand(model, images, false)).abs().max().item<double>(), 1e-12);
  EXPECT_EQ(model.Get("bn1.num_batches_tracked").item<int64_t>(), 1);
}

TEST(ReferencePlanTest, RunningStatisticsFollowTheBatch) {
  Model model = MakeModel();
  ReferencePlan plan;
  const at::Tensor images = Images(5);
  const at::Tensor y = at::conv2d(images, model.Get("conv1.weight"), {}, 1, 1).detach();
  ForwardOptions train;
  train.mode = Mode::kTrain;
  plan.Forward(model, images, train);
  EXPECT_LT((model.Get("bn1.running_mean") - 0.1 * y.mean({0, 2, 3})).abs().max().item<double>(), 1e-14);
  EXPECT_LT((model.Get("bn1.running_var") - (0.9 + 0.1 * y.var({0, 2, 3}, true))).abs().max().item<double>(), 1e-13);
  train.batch_norm_momentum = 1.0;
  plan.Forward(model, images, train);
  EXPECT_LT((model.Get("bn1.running_mean") - y.mean({0, 2, 3})).abs().max().item<double>(), 1e-14);
}

std::map<std::string, at::Tensor> Gradients(Model& model, const at::Tensor& images, GradientPolicy policy) {
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.policy = policy;
  ReferencePlan plan;
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& p : model.parameters()) parameters.push_back(p.tensor);
  const at::Tensor logits = plan.Forward(model, images, options).logits;
  const std::vector<at::Tensor> gradients = torch::autograd::grad({logits.square().sum()}, parameters);
  std::map<std::string, at::Tensor> by_name;
  for (size_t i = 0; i < gradients.size(); ++i) by_name[model.parameters()[i].name] = gradients[i];
  return by_name;
}

TEST(ReferencePlanTest, MasksActInTheForwardPassAndGradientsFollowThePolicy) {
  const at::Tensor images = Images(4);
  Model masked = MakeModel();
  const at::Tensor filters = at::tensor({1.0, 0.0, 1.0, 0.0}, at::kDouble).view({4, 1, 1, 1});
  masked.SetMasks({{"conv1", filters}});
  // A model whose weights were multiplied by the masks by hand has the same logits; its weight gradient is that of the
  // masked weight.
  Model multiplied = MakeModel();
  multiplied.Get("conv1.weight").detach().mul_(filters);
  for (Model* model : {&masked, &multiplied})
    model->Get("bn1.bias").detach().fill_(0.3);  // dead channels pass the ReLU
  const auto expected = Gradients(multiplied, images, GradientPolicy::kStraightThrough);
  const auto through = Gradients(masked, images, GradientPolicy::kStraightThrough);
  const auto blocked = Gradients(masked, images, GradientPolicy::kMasked);
  for (const auto& [name, gradient] : expected) {
    EXPECT_LT((through.at(name) - gradient).abs().max().item<double>(), 1e-12) << name;
  }
  EXPECT_LT((blocked.at("conv1.weight") - expected.at("conv1.weight") * filters).abs().max().item<double>(), 1e-12);
  // Straight-through: a dead filter's weights get a gradient.
  EXPECT_GT(through.at("conv1.weight")[1].abs().max().item<double>(), 0);
}

// DESIGN, "A dead filter in training": y = 0, xhat = 0, dgamma = 0, dbeta = sum(g), dy = gamma / sqrt(eps) (g - mean
// g).
TEST(ReferencePlanTest, ADeadFilterLearnsAsTheAlgebraSays) {
  Model model = MakeModel();
  const at::Tensor dead = at::tensor({1.0, 0.0, 1.0, 1.0}, at::kDouble).view({4, 1, 1, 1});
  model.SetMasks({{"conv1", dead}});
  model.Get("bn1.weight").detach().fill_(1.5);
  model.Get("bn1.bias").detach().fill_(0.25);
  const at::Tensor images = Images(4);
  const auto gradients = Gradients(model, images, GradientPolicy::kStraightThrough);
  EXPECT_EQ(gradients.at("bn1.weight")[1].item<double>(), 0);
  // g at BN's output, from a leaf put there.
  const at::Tensor y = at::conv2d(images, model.Get("conv1.weight").detach() * dead, {}, 1, 1);
  at::Tensor out =
      ((y - y.mean({0, 2, 3}, true)) / (y.var({0, 2, 3}, false, true) + 1e-5).sqrt() * 1.5 + 0.25).detach();
  out.set_requires_grad(true);
  const at::Tensor relu = at::relu(out);
  const at::Tensor z = at::conv2d(relu, model.Get("conv2.weight").detach(), model.Get("conv2.bias").detach(), 2, 1);
  const at::Tensor branch = (z - z.mean({0, 2, 3}, true)) / (z.var({0, 2, 3}, false, true) + 1e-5).sqrt();
  const at::Tensor shortcut = at::constant_pad_nd(relu.slice(2, 0, 6, 2).slice(3, 0, 6, 2), {0, 0, 0, 0, 1, 1});
  const at::Tensor logits = at::linear(at::max_pool2d(branch + shortcut, 2, 1).mean({2, 3}),
                                       model.Get("fc.weight").detach(), model.Get("fc.bias").detach());
  const at::Tensor g = torch::autograd::grad({logits.square().sum()}, {out})[0].select(1, 1);  // of the dead channel
  EXPECT_NEAR(gradients.at("bn1.bias")[1].item<double>(), g.sum().item<double>(), 1e-12);
  const at::Tensor dy = at::zeros_like(y);
  dy.select(1, 1).copy_(1.5 / std::sqrt(1e-5) * (g - g.mean()));
  const at::Tensor weight = model.Get("conv1.weight").detach().clone().set_requires_grad(true);
  const at::Tensor expected = torch::autograd::grad({(at::conv2d(images, weight, {}, 1, 1) * dy).sum()}, {weight})[0];
  EXPECT_LT((gradients.at("conv1.weight")[1] - expected[1]).abs().max().item<double>(),
            1e-9 * expected[1].abs().max().item<double>());
}

TEST(ReferencePlanTest, CapturesWhatIsAskedFor) {
  Model model = MakeModel();
  ReferencePlan plan;
  ForwardOptions options;
  options.capture = {"relu", "fc"};
  const ForwardResult result = plan.Forward(model, Images(2), options);
  EXPECT_EQ(result.captured.size(), 2u);
  EXPECT_EQ(result.captured.at("relu").sizes(), at::IntArrayRef({2, 4, 6, 6}));
  EXPECT_TRUE(at::equal(result.captured.at("fc"), result.logits));
}

TEST(ReferencePlanTest, CapturingChangesNothingThatIsCaptured) {
  // Activations without further consumers are overwritten in place; captured activations must not be.
  const at::Tensor images = Images(3);
  Model model = MakeModel();
  ReferencePlan plan;
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.capture = {"image", "conv1", "bn1", "relu", "bn2", "add", "pool"};
  const ForwardResult all = plan.Forward(model, images, options);
  EXPECT_TRUE(at::equal(all.captured.at("image"), Images(3)));
  EXPECT_LT(all.captured.at("bn1").min().item<double>(), 0);
  EXPECT_TRUE(at::equal(all.captured.at("relu"), all.captured.at("bn1").relu()));
  EXPECT_LT((all.captured.at("add") - all.captured.at("bn2")).narrow(1, 0, 1).abs().max().item<double>(), 1e-14);
  options.capture.clear();
  EXPECT_TRUE(at::equal(plan.Forward(model, images, options).logits, all.logits));
}

TEST(ReferencePlanTest, AStoredConstantIsAddedToEachImageAndStaysAsItIs) {
  NetworkWriter net;
  net.Image(2, 3, 3);
  net.Constant("constant", 2, 3, 3);
  net.Add("add", {"constant", "image"});
  net.Flatten("flat", "add");
  net.Linear("fc", "flat", 2);
  const NetworkInfo info = *NetworkInfo::Create(net.Take());
  Model model = Model::Create(info, at::kDouble, at::kCPU);
  InitializeParameters(model, 5);
  const at::Tensor value = at::arange(18, at::kDouble).view({2, 3, 3});
  model.Get("constant.value").detach().copy_(value);
  const at::Tensor images = at::linspace(-1, 1, 36, at::kDouble).view({2, 2, 3, 3});
  ReferencePlan plan;
  const at::Tensor expected = at::linear((images + value).flatten(1), model.Get("fc.weight"), model.Get("fc.bias"));
  for (int call = 0; call < 2; ++call) {
    EXPECT_LT((plan.Forward(model, images, {}).logits - expected).abs().max().item<double>(), 1e-14);
  }
  EXPECT_TRUE(at::equal(model.Get("constant.value"), value));
}

// Each function against its formula, and its gradient against the formula's difference quotient, away from kinks.
TEST(ReferencePlanTest, ElementwiseFunctionsAreTheirFormulas) {
  const auto clipped = [](double x, double low, double high) { return std::min(std::max(x, low), high); };
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  const std::map<Elementwise::Function, std::function<double(double)>> formulas = {
      {Elementwise::CLIP, [&](double x) { return clipped(x, -1, 2.5); }},
      {Elementwise::LEAKY_RELU, [](double x) { return x < 0 ? 0.2 * x : x; }},
      {Elementwise::SIGMOID, sigmoid},
      {Elementwise::HARD_SIGMOID, [&](double x) { return clipped(x / 6 + 0.5, 0, 1); }},
      {Elementwise::HARD_SWISH, [&](double x) { return x * clipped(x / 6 + 0.5, 0, 1); }},
      {Elementwise::SILU, [&](double x) { return x * sigmoid(x); }},
      {Elementwise::GELU, [](double x) { return x / 2 * (1 + std::erf(x / std::sqrt(2))); }},
      {Elementwise::GELU_TANH,
       [](double x) { return x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x))); }},
      {Elementwise::TANH, [](double x) { return std::tanh(x); }}};
  ASSERT_EQ(formulas.size(), Elementwise::Function_ARRAYSIZE - 1);
  const at::Tensor images = at::linspace(-7.93, 8.06, 48, at::kDouble).view({1, 3, 4, 4});
  for (const auto& [function, formula] : formulas) {
    SCOPED_TRACE(Elementwise::Function_Name(function));
    NetworkWriter net;
    net.Image(3, 4, 4);
    Elementwise* elementwise = net.Append("function", {"image"})->mutable_elementwise();
    elementwise->set_function(function);
    elementwise->set_low(-1);
    elementwise->set_high(2.5);
    elementwise->set_slope(0.2);
    net.Flatten("flat", "function");
    Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
    EXPECT_EQ(model.info().MacCount(), 0);
    const at::Tensor x = images.clone().requires_grad_();
    ReferencePlan plan;
    ForwardOptions train;
    train.mode = Mode::kTrain;
    const at::Tensor y = plan.Forward(model, x, train).logits;
    const at::Tensor gradient = torch::autograd::grad({y.sum()}, {x})[0].flatten();
    for (int64_t k = 0; k < 48; ++k) {
      const double at = images.flatten()[k].item<double>(), step = 1e-5;
      EXPECT_NEAR(y[0][k].item<double>(), formula(at), 1e-14 * std::max(1.0, std::abs(at)));
      EXPECT_NEAR(gradient[k].item<double>(), (formula(at + step) - formula(at - step)) / (2 * step), 1e-8) << at;
    }
  }
}

// PyTorch's ReLU6 has no gradient at its bounds, where a masked filter with a bias of 0 is after BN.
TEST(ReferencePlanTest, AClipHasNoGradientAtItsBounds) {
  NetworkWriter net;
  net.Image(1, 1, 5);
  net.Elementwise("relu6", "image", Elementwise::CLIP);
  net.Flatten("flat", "relu6");
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  const at::Tensor x = at::tensor({-1.0, 0.0, 1.0, 6.0, 7.0}, at::kDouble).view({1, 1, 1, 5}).requires_grad_();
  ReferencePlan plan;
  ForwardOptions train;
  train.mode = Mode::kTrain;
  const at::Tensor gradient = torch::autograd::grad({plan.Forward(model, x, train).logits.sum()}, {x})[0];
  EXPECT_TRUE(at::equal(gradient.flatten(), at::tensor({0.0, 0.0, 1.0, 0.0, 0.0}, at::kDouble)));
}

// A network of one operator after the images [2, 4, 3, 3], and of two where it has two inputs (the images and their
// squares); what it computes and its gradients against `expected`, which takes the inputs and the parameters by name.
void CheckOperator(const std::function<void(Node*)>& fill, int inputs,
                   const std::function<at::Tensor(const std::vector<at::Tensor>&,
                                                  const std::function<at::Tensor(const std::string&)>&)>& expected) {
  NetworkWriter net;
  net.Image(4, 3, 3);
  net.Elementwise("other", "image", Elementwise::SILU);
  Node* node =
      net.Append("op", inputs == 1 ? std::vector<std::string>{"image"} : std::vector<std::string>{"image", "other"});
  fill(node);
  net.Flatten("flat", "op");
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  InitializeParameters(model, 3);
  std::vector<at::Tensor> with_gradient;
  for (const NamedTensor& parameter : model.parameters()) {
    parameter.tensor.detach().add_(at::linspace(-0.4, 0.7, parameter.tensor.numel(), at::kDouble));
    with_gradient.push_back(parameter.tensor);
  }
  const at::Tensor x = at::linspace(-2, 2.3, 72, at::kDouble).mul(17).sin().view({2, 4, 3, 3}).requires_grad_();
  with_gradient.push_back(x);
  const at::Tensor weights = at::linspace(-1, 2, 72, at::kDouble).view({2, -1});
  ReferencePlan plan;
  ForwardOptions train;
  train.mode = Mode::kTrain;
  const at::Tensor y = plan.Forward(model, x, train).logits;
  std::vector<at::Tensor> in = {x};
  if (inputs == 2) in.push_back(x * at::sigmoid(x));
  const at::Tensor reference =
      expected(in, [&](const std::string& suffix) { return model.Get("op." + suffix); }).flatten(1);
  ASSERT_EQ(y.sizes(), reference.sizes());
  EXPECT_LT((y - reference).abs().max().item<double>(), 1e-12);
  const at::Tensor factor = weights.narrow(1, 0, y.size(1));
  const auto gradients = torch::autograd::grad({(y * factor).sum()}, with_gradient);
  const auto of_reference = torch::autograd::grad({(reference * factor).sum()}, with_gradient);
  for (size_t k = 0; k < gradients.size(); ++k) {
    EXPECT_LT((gradients[k] - of_reference[k]).abs().max().item<double>(), 1e-11) << k;
  }
}

using Values = std::function<at::Tensor(const std::string&)>;

TEST(ReferencePlanTest, FakeQuantizeIsPyTorchs) {
  for (const int64_t bits : {2, 5, 8}) {
    NetworkWriter net;
    net.Image(4, 3, 3);
    net.Append("op", {"image"})->mutable_fake_quantize()->set_bits(bits);
    net.Flatten("flat", "op");
    Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
    const double scale = 1.25 / static_cast<double>(1 << bits);  // PyTorch multiplies in float32: without rounding here
    const int64_t zero_point = (1 << bits) / 3, last = (1 << bits) - 1;
    model.Get("op.scale").fill_(scale);
    model.Get("op.zero_point").fill_(zero_point);
    const at::Tensor x = at::linspace(-2, 2.3, 72, at::kDouble).mul(17).sin().view({2, 4, 3, 3}).requires_grad_();
    const at::Tensor factor = at::linspace(-1, 2, 72, at::kDouble).view({2, 36});
    ForwardOptions train;
    train.mode = Mode::kTrain;
    const at::Tensor y = ReferencePlan().Forward(model, x, train).logits;
    const at::Tensor reference = at::fake_quantize_per_tensor_affine(x, scale, zero_point, 0, last).flatten(1);
    EXPECT_LT((y - reference).abs().max().item<double>(), 1e-14) << bits;
    const at::Tensor gradient = torch::autograd::grad({(y * factor).sum()}, {x})[0];
    const at::Tensor of_reference = torch::autograd::grad({(reference * factor).sum()}, {x})[0];
    EXPECT_TRUE(at::equal(gradient, of_reference)) << bits;
    EXPECT_GT(gradient.eq(0).sum().item<int64_t>(), 0);  // some values were cut off
    const at::NoGradGuard no_gradients;
    EXPECT_TRUE(at::equal(ReferencePlan().Forward(model, x, {}).logits, y));
  }
}

TEST(ReferencePlanTest, ArithmeticIsTheFormula) {
  const auto check = [](Arithmetic::Function function, const auto& formula) {
    CheckOperator([&](Node* node) { node->mutable_arithmetic()->set_function(function); }, 2,
                  [&](const std::vector<at::Tensor>& in, const Values&) { return formula(in[0], in[1]); });
  };
  check(Arithmetic::MULTIPLY, [](const at::Tensor& a, const at::Tensor& b) { return a * b; });
  check(Arithmetic::SUBTRACT, [](const at::Tensor& a, const at::Tensor& b) { return a - b; });
  check(Arithmetic::DIVIDE, [](const at::Tensor& a, const at::Tensor& b) { return a * b.reciprocal(); });
}

// Norms against their formulas, written out with means of squares.
at::Tensor Standardized(const at::Tensor& x, at::IntArrayRef over, double epsilon) {
  const at::Tensor centered = x - x.mean(over, true);
  return centered * (centered.square().mean(over, true) + epsilon).rsqrt();
}
at::Tensor Affine(const at::Tensor& x, const Values& value) {
  return x * value("weight").view({-1, 1, 1}) + value("bias").view({-1, 1, 1});
}

TEST(ReferencePlanTest, NormsAreTheirFormulas) {
  CheckOperator([](Node* node) { node->mutable_layer_norm()->set_epsilon(1e-3); }, 1,
                [](const std::vector<at::Tensor>& in, const Values& value) {
                  return Affine(Standardized(in[0], {1}, 1e-3), value);
                });
  CheckOperator([](Node* node) { node->mutable_layer_norm()->set_affine(false); }, 1,
                [](const std::vector<at::Tensor>& in, const Values&) { return Standardized(in[0], {1}, 1e-5); });
  CheckOperator([](Node* node) { node->mutable_group_norm()->set_groups(2); }, 1,
                [](const std::vector<at::Tensor>& in, const Values& value) {
                  return Affine(Standardized(in[0].view({2, 2, 2, 3, 3}), {2, 3, 4}, 1e-5).view({2, 4, 3, 3}), value);
                });
  CheckOperator([](Node* node) { node->mutable_instance_norm()->set_affine(true); }, 1,
                [](const std::vector<at::Tensor>& in, const Values& value) {
                  return Affine(Standardized(in[0], {2, 3}, 1e-5), value);
                });
  CheckOperator([](Node* node) { node->mutable_instance_norm()->set_epsilon(1e-2); }, 1,
                [](const std::vector<at::Tensor>& in, const Values&) {
                  return Standardized(in[0], {2, 3}, 1e-2);
                });
}

TEST(ReferencePlanTest, WhatKnowsChannelsIsItsFormula) {
  for (const bool shared : {false, true}) {
    CheckOperator([&](Node* node) { node->mutable_prelu()->set_shared(shared); }, 1,
                  [](const std::vector<at::Tensor>& in, const Values& value) {
                    return in[0].clamp_min(0) + in[0].clamp_max(0) * value("weight").view({-1, 1, 1});
                  });
  }
  CheckOperator(
      [](Node* node) { node->mutable_softmax(); }, 1,
      [](const std::vector<at::Tensor>& in, const Values&) { return in[0].exp() / in[0].exp().sum({1}, true); });
  CheckOperator([](Node* node) { node->mutable_channel_scale()->set_bias(true); }, 1,
                [](const std::vector<at::Tensor>& in, const Values& value) { return Affine(in[0], value); });
  CheckOperator(
      [](Node* node) {
        for (const int64_t k : {3, 0, 0, 2}) node->mutable_select()->add_index(k);
      },
      1,
      [](const std::vector<at::Tensor>& in, const Values&) {
        return at::cat({in[0].slice(1, 3, 4), in[0].slice(1, 0, 1), in[0].slice(1, 0, 1), in[0].slice(1, 2, 3)}, 1);
      });
}

// Maps, a stored constant among them, and features.
TEST(ReferencePlanTest, ConcatIsPyTorchsCat) {
  NetworkWriter net;
  net.Image(2, 4, 4);
  net.Conv("a", "image", {3, 3, 1, 1, true});
  net.Conv("b", "image", {2, 1, 1, 0, true});
  net.Constant("stored", 1, 4, 4);
  net.Append("maps", {"a", "stored", "b", "a"})->mutable_concat();
  net.Flatten("flat", net.MaxPool("pool", net.Relu("relu", "maps"), 2, 2));
  net.Linear("left", "flat", 3);
  net.Linear("right", "flat", 2);
  net.Append("features", {"right", "left"})->mutable_concat();
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  EXPECT_EQ(model.info().shape("maps").channels, 9);
  EXPECT_EQ(model.info().MacCount(), 16 * (3 * 18 + 2 * 2) + 36 * 5);
  InitializeParameters(model, 5);
  model.Get("stored.value").detach().copy_(at::linspace(-1, 1, 16, at::kDouble).view({1, 4, 4}));
  const at::Tensor images = at::linspace(-1, 1, 3 * 32, at::kDouble).mul(40).sin().view({3, 2, 4, 4});
  const auto get = [&](const char* name) { return model.Get(name); };
  const at::Tensor a = at::conv2d(images, get("a.weight"), get("a.bias"), 1, 1);
  const at::Tensor b = at::conv2d(images, get("b.weight"), get("b.bias"));
  const at::Tensor maps = at::cat({a, get("stored.value").expand({3, 1, 4, 4}), b, a}, 1);
  const at::Tensor flat = at::max_pool2d(maps.relu(), 2, 2).flatten(1);
  const at::Tensor expected = at::cat({at::linear(flat, get("right.weight"), get("right.bias")),
                                       at::linear(flat, get("left.weight"), get("left.bias"))},
                                      1);
  ReferencePlan plan;
  ForwardOptions train;
  train.mode = Mode::kTrain;
  const at::Tensor logits = plan.Forward(model, images, train).logits;
  EXPECT_TRUE(at::equal(logits, expected));
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& p : model.parameters()) parameters.push_back(p.tensor);
  const at::Tensor weights = at::linspace(1, 2, 15, at::kDouble).view({3, 5});
  const auto ours = torch::autograd::grad({(logits * weights).sum()}, parameters);
  const auto theirs = torch::autograd::grad({(expected * weights).sum()}, parameters);
  for (size_t i = 0; i < parameters.size(); ++i) {
    EXPECT_LT((ours[i] - theirs[i]).abs().max().item<double>(), 1e-13) << model.parameters()[i].name;
    EXPECT_GT(ours[i].abs().max().item<double>(), 0) << model.parameters()[i].name;
  }
}

TEST(ReferencePlanTest, IsTwiceDifferentiable) {
  Model model = MakeModel();
  model.SetMasks({{"conv1", at::tensor({1.0, 0.0, 1.0, 1.0}, at::kDouble).view({4, 1, 1, 1})}});
  ReferencePlan plan;
  ForwardOptions options;
  options.mode = Mode::kTrain;
  const at::Tensor loss = plan.Forward(model, Images(3), options).logits.square().sum();
  const at::Tensor weight = model.Get("conv1.weight");
  const at::Tensor g = torch::autograd::grad({loss}, {weight}, {}, true, /*create_graph=*/true)[0];
  const at::Tensor second = torch::autograd::grad({g.square().sum()}, {weight})[0];
  EXPECT_GT(second.abs().max().item<double>(), 0);
  EXPECT_TRUE(second.isfinite().all().item<bool>());
}

TEST(InitializationTest, IsHeNormalAndKeyedBySeedAndName) {
  Model a = MakeModel(), b = MakeModel();
  EXPECT_TRUE(at::equal(a.Get("conv2.weight"), b.Get("conv2.weight")));
  InitializeParameters(b, 6);
  EXPECT_FALSE(at::equal(a.Get("conv2.weight"), b.Get("conv2.weight")));
  NetworkWriter net;
  net.Image(64, 1, 1);
  net.Conv("c", "image", {128, 3, 1, 1});
  net.Flatten("flat", "c");
  net.Linear("fc", "flat", 100);
  Model wide = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  InitializeParameters(wide, 1);
  const at::Tensor w = wide.Get("c.weight").detach();  // 73,728 normal values: standard error of the sd 0.26 %
  EXPECT_NEAR(w.std().item<double>() / std::sqrt(2.0 / (128 * 9)), 1, 0.012);
  EXPECT_NEAR(w.mean().item<double>() / std::sqrt(2.0 / (128 * 9)), 0, 0.02);
  const at::Tensor fc = wide.Get("fc.weight").detach();
  const double bound = 1 / std::sqrt(128.0);
  EXPECT_LE(fc.abs().max().item<double>(), bound);
  EXPECT_NEAR(fc.std().item<double>() / (bound / std::sqrt(3.0)), 1, 0.02);
}

TEST(PlanTest, AConstantRepeatsTheRowsAndColumnsThatAreStoredOnce) {
  NetworkWriter net;
  net.Image(2, 3, 4);
  net.Constant("map", 2, 3, 4, {{1, 2}, {1, 2, 1}});
  net.Add("add", {"image", "map"});
  net.Flatten("flat", "add");
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  EXPECT_EQ(model.info().StoredConstantCount(), 12);
  model.Get("map.value").copy_(at::arange(12, at::kDouble).view({2, 2, 3}));
  ReferencePlan plan;
  const at::Tensor sum = plan.Forward(model, at::zeros({1, 2, 3, 4}, at::kDouble), {}).logits;
  EXPECT_TRUE(at::equal(sum[0], at::tensor({0, 1, 1, 2, 3, 4,  4,  5,  3, 4,  4,  5,  //
                                            6, 7, 7, 8, 9, 10, 10, 11, 9, 10, 10, 11})
                                    .to(at::kDouble)));
}

// Counts what it compiles.
class CountingPlan : public ReferencePlan {
 public:
  CompiledPlan Compile(PlanStructure structure) const override {
    ++compiled;
    return ReferencePlan::Compile(std::move(structure));
  }
  mutable int compiled = 0;
};

TEST(PlanTest, ANetworkIsCompiledOnceForEachStructure) {
  Model model = MakeModel();
  CountingPlan plan;
  ForwardOptions options;
  plan.Forward(model, Images(5), options);
  plan.Forward(model, Images(3), options);  // batches of other sizes
  model.Get("conv1.weight").detach().mul_(2);
  plan.Forward(model, Images(3), options);
  EXPECT_EQ(plan.compiled, 1);
  const at::Tensor filters = at::ones({4, 1, 1, 1}, at::kDouble);
  model.SetMasks({{"conv1", filters}});
  plan.Forward(model, Images(3), options);
  EXPECT_EQ(plan.compiled, 2) << "a mask where none was";
  model.SetMasks({{"conv1", 0 * filters}});
  Model copy = model;
  plan.Forward(copy, Images(3), options);
  EXPECT_EQ(plan.compiled, 2) << "values of masks decide nothing";
  model.SetMasks({{"conv1", at::ones_like(model.Get("conv1.weight").detach())}});
  plan.Forward(model, Images(3), options);
  EXPECT_EQ(plan.compiled, 3) << "a mask of weights";
  options.policy = GradientPolicy::kMasked;
  plan.Forward(model, Images(3), options);
  EXPECT_EQ(plan.compiled, 4) << "another policy";
  options.capture = {"conv1"};
  EXPECT_EQ(plan.Forward(model, Images(3), options).captured.size(), 1u);
  EXPECT_EQ(plan.compiled, 5) << "a captured node";
  options = {};
  plan.Forward(copy, Images(3), options);
  EXPECT_EQ(plan.compiled, 5) << "what was compiled before is still there";
  Model other = MakeModel();
  plan.Forward(other, Images(3), options);
  EXPECT_EQ(plan.compiled, 6) << "another network";
}

}  // namespace
}  // namespace prunelab
