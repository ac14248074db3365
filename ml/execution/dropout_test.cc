#include "ml/execution/dropout.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/execution/bfloat16_plan.h"
#include "ml/execution/fused_plan.h"
#include "ml/execution/plan.h"
#include "ml/execution/skipping_plan.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

constexpr Dropout::Unit kUnits[] = {Dropout::ELEMENT, Dropout::CHANNEL, Dropout::IMAGE, Dropout::BATCH};

Dropout DropoutOf(double probability, Dropout::Unit unit = Dropout::ELEMENT) {
  Dropout dropout;
  dropout.set_probability(probability);
  dropout.set_unit(unit);
  return dropout;
}

// A network of dropout nodes alone: "maps" of [6, 4, 5], and "features" of 120.
NetworkInfo Drops(double probability, Dropout::Unit unit) {
  NetworkWriter net;
  net.Image(6, 4, 5);
  net.Dropout("maps", "image", probability, unit);
  net.Flatten("flat", "maps");
  net.Dropout("features", "flat", probability, unit);
  return *NetworkInfo::Create(net.Take());
}

std::map<std::string, at::Tensor> Draw(double probability, Dropout::Unit unit, int64_t images, uint64_t seed = 3,
                                       int64_t epoch = 1, int64_t step = 7) {
  return StepDropout(Drops(probability, unit), seed, at::kCPU).Draw(epoch, step, images);
}

TEST(StepDropoutTest, DrawsOneBoolForEachUnit) {
  const std::vector<int64_t> maps[] = {{9, 6, 4, 5}, {9, 6, 1, 1}, {9, 1, 1, 1}, {1, 1, 1, 1}},
                             features[] = {{9, 120}, {9, 120}, {9, 1}, {1, 1}};
  for (const Dropout::Unit unit : kUnits) {
    const auto kept = Draw(0.3, unit, 9);
    ASSERT_EQ(kept.size(), 2u);
    EXPECT_EQ(kept.at("maps").sizes(), at::IntArrayRef(maps[unit])) << Dropout::Unit_Name(unit);
    EXPECT_EQ(kept.at("features").sizes(), at::IntArrayRef(features[unit])) << Dropout::Unit_Name(unit);
    for (const auto& [node, bools] : kept) EXPECT_EQ(bools.scalar_type(), at::kBool) << node;
  }
}

// By the definition in the header: the stream's numbers in the order of memory.
TEST(StepDropoutTest, TheBoolsAreThoseOfTheNodesStream) {
  for (const Dropout::Unit unit : kUnits) {
    for (const auto& [node, bools] : Draw(0.25, unit, 9)) {
      const at::Tensor in_memory = bools.dim() == 4 ? bools.permute({0, 2, 3, 1}).reshape(-1) : bools.reshape(-1);
      RandomStream stream(3, absl::StrCat("dropout/", node), 1, 7);
      for (int64_t i = 0; i < in_memory.numel(); ++i) {
        ASSERT_EQ(in_memory[i].item<bool>(), stream.Next32() < 0.75 * 0x1p32) << node << " " << i;
      }
    }
  }
}

// So that a later program cannot give a resumed training other numbers.
TEST(StepDropoutTest, TheFirstBoolsOfASeed) {
  const auto kept = Draw(0.5, Dropout::IMAGE, 16);
  const auto text = [](const at::Tensor& bools) {
    std::string text;
    for (int64_t i = 0; i < bools.numel(); ++i) text += bools.reshape(-1)[i].item<bool>() ? '1' : '0';
    return text;
  };
  EXPECT_EQ(text(kept.at("maps")), "1001011010100110");
  EXPECT_EQ(text(kept.at("features")), "1111011001011100");
}

// The share that is kept, within 4.5 standard deviations of what independent draws have, for each unit.
TEST(StepDropoutTest, KeepsAsManyAsItShould) {
  for (const Dropout::Unit unit : kUnits) {
    for (const double probability : {0.1, 0.5, 0.8}) {
      const StepDropout dropout(Drops(probability, unit), 11, at::kCPU);
      double kept = 0, count = 0;
      for (int64_t step = 0; step < 300; ++step) {
        for (const auto& [node, bools] : dropout.Draw(0, step, 8)) {
          kept += bools.sum().item<double>();
          count += static_cast<double>(bools.numel());
        }
      }
      const double deviation = std::sqrt(count * probability * (1 - probability));
      EXPECT_LT(std::abs(kept - count * (1 - probability)), 4.5 * deviation)
          << Dropout::Unit_Name(unit) << ": " << kept << " of " << count << " at " << probability;
    }
  }
}

// Two nodes, seeds, epochs or steps agree as often as independent draws would, which is in half of the bools.
TEST(StepDropoutTest, EachNodeSeedEpochAndStepHasItsOwn) {
  const auto base = Draw(0.5, Dropout::ELEMENT, 50);
  const auto expect_independent = [](const at::Tensor& a, const at::Tensor& b, const char* what) {
    const double count = static_cast<double>(a.numel());
    EXPECT_LT(std::abs(a.reshape(-1).eq(b.reshape(-1)).sum().item<double>() - count / 2), 4.5 * std::sqrt(count) / 2)
        << what;
  };
  expect_independent(base.at("maps"), base.at("features"), "nodes");
  expect_independent(base.at("maps"), Draw(0.5, Dropout::ELEMENT, 50, 4).at("maps"), "seeds");
  expect_independent(base.at("maps"), Draw(0.5, Dropout::ELEMENT, 50, 3, 2).at("maps"), "epochs");
  expect_independent(base.at("maps"), Draw(0.5, Dropout::ELEMENT, 50, 3, 1, 8).at("maps"), "steps");
  expect_independent(base.at("maps"), Draw(0.5, Dropout::ELEMENT, 50, 3, 7, 1).at("maps"), "epoch and step");
  EXPECT_TRUE(at::equal(base.at("maps"), Draw(0.5, Dropout::ELEMENT, 50).at("maps")));
}

TEST(StepDropoutTest, DoesNotDependOnTheNumberOfThreads) {
  at::set_num_threads(1);
  const auto one = Draw(0.4, Dropout::ELEMENT, 3000);  // 360,000 bools: several threads' share
  at::set_num_threads(4);
  const auto four = Draw(0.4, Dropout::ELEMENT, 3000);
  EXPECT_TRUE(at::equal(one.at("maps"), four.at("maps")));
}

TEST(StepDropoutTest, ProbabilityZeroDrawsNothing) {
  for (const Dropout::Unit unit : kUnits) EXPECT_TRUE(Draw(0, unit, 5).empty());
}

at::Tensor Ramp(at::IntArrayRef sizes, at::ScalarType dtype = at::kDouble) {
  int64_t count = 1;
  for (const int64_t size : sizes) count *= size;
  return at::linspace(-1, 1, count, at::kDouble).mul(40).sin().add(1.5).view(sizes).to(dtype);
}

// Against LibTorch's own operators and their gradients, for the masks that these drew.
TEST(ApplyDropoutTest, ValuesAndGradientsAreLibTorchs) {
  const at::Tensor seen_by_loss = Ramp({5, 4, 3, 2}).cos();
  const auto compare = [&](const Dropout& dropout, const at::Tensor& x, const at::Tensor& theirs,
                           const at::Tensor& kept) {
    const at::Tensor own_x = x.detach().clone().requires_grad_(true);
    const at::Tensor ours = ApplyDropout(dropout, own_x, kept);
    EXPECT_LT((ours - theirs).abs().max().item<double>(), 1e-14);
    const at::Tensor expected = torch::autograd::grad({(theirs.square() * seen_by_loss).sum()}, {x})[0];
    const at::Tensor gradient = torch::autograd::grad({(ours.square() * seen_by_loss).sum()}, {own_x})[0];
    EXPECT_LT((gradient - expected).abs().max().item<double>(), 1e-13);
    EXPECT_GT(expected.abs().max().item<double>(), 0.1);
  };
  for (const double probability : {0.2, 0.7}) {
    at::Tensor x = Ramp({5, 4, 3, 2}).requires_grad_(true);
    const auto [elements, mask] = at::native_dropout(x, probability, true);
    compare(DropoutOf(probability), x, elements, mask);
    const at::Tensor maps = at::feature_dropout(x, probability, true);  // x has no zeros
    compare(DropoutOf(probability, Dropout::CHANNEL), x, maps, maps.ne(0).amax({2, 3}, true));
    // What torchvision's stochastic_depth computes in mode "row".
    const at::Tensor noise = at::empty({5, 1, 1, 1}, at::kDouble).bernoulli_(1 - probability).div_(1 - probability);
    noise[0].fill_(1 / (1 - probability));
    compare(DropoutOf(probability, Dropout::IMAGE), x, x * noise, noise.ne(0));
  }
}

TEST(ApplyDropoutTest, ProbabilityOneGivesZerosWithoutNaN) {
  for (const Dropout::Unit unit : kUnits) {
    for (const auto& [node, kept] : Draw(1, unit, 3)) {
      const at::Tensor x =
          Ramp(node == "maps" ? at::IntArrayRef({3, 6, 4, 5}) : at::IntArrayRef({3, 120})).requires_grad_(true);
      const at::Tensor y = ApplyDropout(DropoutOf(1, unit), x, kept);
      EXPECT_TRUE(at::equal(y, at::zeros_like(x)));
      EXPECT_TRUE(at::equal(torch::autograd::grad({y.sum()}, {x})[0], at::zeros_like(x)));
    }
  }
}

TEST(ApplyDropoutTest, KeepsTheTypeAndDividesBeforeItRounds) {
  const auto kept = Draw(0.1, Dropout::ELEMENT, 3).at("maps");
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat, at::kDouble}) {
    const at::Tensor x = Ramp({3, 6, 4, 5}, dtype);
    const at::Tensor y = ApplyDropout(DropoutOf(0.1), x, kept);
    EXPECT_EQ(y.scalar_type(), dtype);
    const at::Tensor exact = x.to(at::kDouble) * kept.to(at::kDouble) / 0.9;
    const double unit = dtype == at::kBFloat16 ? 0x1.004p-8 : dtype == at::kFloat ? 0x1p-23 : 0x1p-52;
    EXPECT_TRUE((y.to(at::kDouble) - exact).abs().le(exact.abs() * unit).all().item<bool>()) << dtype;
  }
}

// Stochastic depth on a branch, dropout of maps after a ReLU, and of features before the classifier.
NetworkInfo ResidualNetwork() {
  NetworkWriter net;
  net.Image(2, 6, 6);
  net.Relu("relu", net.BatchNorm("bn1", net.Conv("conv1", "image", {8, 3, 1, 1})));
  net.Dropout("maps", "relu", 0.3, Dropout::CHANNEL);
  net.Relu("relu2", net.BatchNorm("bn2", net.Conv("conv2", "maps", {8, 3, 1, 1})));
  net.BatchNorm("bn3", net.Conv("conv3", "relu2", {8, 3, 1, 1}));
  net.Dropout("depth", "bn3", 0.4, Dropout::IMAGE);
  net.Relu("relu3", net.Add("add", {"depth", "maps"}));
  net.Flatten("flat", net.GlobalAveragePool("pool", "relu3"));
  net.Linear("fc1", "flat", 16);
  net.Dropout("drop", "fc1", 0.2);
  net.Linear("fc", "drop", 3);
  return *NetworkInfo::Create(net.Take());
}

const std::pair<const char*, const char*> kDrops[] = {{"maps", "relu"}, {"depth", "bn3"}, {"drop", "fc1"}};

ForwardOptions TrainOptions(const Model& model, int64_t images) {
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.kept = StepDropout(model.info(), 5, model.device()).Draw(2, 3, images);
  for (const auto& [drop, input] : kDrops) options.capture.insert({drop, input});
  return options;
}

// Each plan drops the same values of what it computed before, to the bit, whatever its type.
TEST(DropoutInPlansTest, EveryPlanDropsTheSame) {
  const int64_t images = 7;
  std::vector<std::pair<std::string, std::unique_ptr<Plan>>> plans;
  plans.emplace_back("reference", std::make_unique<ReferencePlan>());
  plans.emplace_back("skipping", std::make_unique<SkippingPlan>());
  plans.emplace_back("fused", std::make_unique<FusedPlan>());
  plans.emplace_back("bfloat16", std::make_unique<Bfloat16Plan>());
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    for (const auto& [name, plan] : plans) {
      if (name == "bfloat16" && dtype == at::kDouble) continue;
      SCOPED_TRACE(absl::StrCat(name, " in ", c10::toString(dtype)));
      Model model = Model::Create(ResidualNetwork(), dtype, at::kCPU);
      InitializeParameters(model, 5);
      model.SetMasks({{"conv2", at::tensor({1, 0, 1, 1, 0, 1, 1, 1}).view({8, 1, 1, 1})}});
      const ForwardOptions options = TrainOptions(model, images);
      const ForwardResult result = plan->Forward(model, Ramp({images, 2, 6, 6}, dtype), options);
      for (const auto& [drop, input] : kDrops) {
        const Dropout& dropout = model.info().node(model.info().Index(drop)).dropout();
        at::Tensor x = result.captured.at(input);
        if (name == "bfloat16") x = x.to(at::kBFloat16);  // in which these were computed, and captured in float32
        const at::Tensor y = x * options.kept.at(drop) / (1 - dropout.probability());
        EXPECT_TRUE(at::equal(result.captured.at(drop), y.to(dtype))) << drop;
        EXPECT_GT(result.captured.at(drop).eq(0).sum().item<int64_t>(), 0) << drop;
      }
      for (const auto& gradient : torch::autograd::grad({result.logits.square().sum()}, {model.Get("conv1.weight")})) {
        EXPECT_TRUE(gradient.isfinite().all().item<bool>());
      }
    }
  }
}

TEST(DropoutInPlansTest, GradientsOfANetworkAreThoseOfTheSameWithItsMultiplicationsWrittenOut) {
  Model model = Model::Create(ResidualNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(model, 5);
  const at::Tensor images = Ramp({7, 2, 6, 6});
  const ForwardOptions options = TrainOptions(model, 7);
  const auto get = [&](const char* name) { return model.Get(name); };
  const auto norm = [&](const at::Tensor& x, const std::string& name) {
    return at::batch_norm(x, get((name + ".weight").c_str()), get((name + ".bias").c_str()), {}, {}, true, 0.1, 1e-5,
                          false);
  };
  const auto drop = [&](const at::Tensor& x, const char* name, double probability) {
    return x * (options.kept.at(name).to(at::kDouble) * (1 / (1 - probability)));
  };
  const at::Tensor maps = drop(at::relu(norm(at::conv2d(images, get("conv1.weight"), {}, 1, 1), "bn1")), "maps", 0.3);
  const at::Tensor inner = at::relu(norm(at::conv2d(maps, get("conv2.weight"), {}, 1, 1), "bn2"));
  const at::Tensor branch = drop(norm(at::conv2d(inner, get("conv3.weight"), {}, 1, 1), "bn3"), "depth", 0.4);
  const at::Tensor features = at::relu(branch + maps).mean({2, 3});
  const at::Tensor dropped = drop(at::linear(features, get("fc1.weight"), get("fc1.bias")), "drop", 0.2);
  const at::Tensor logits = at::linear(dropped, get("fc.weight"), get("fc.bias"));
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& parameter : model.parameters()) parameters.push_back(parameter.tensor);
  const std::vector<at::Tensor> expected = torch::autograd::grad({logits.square().sum()}, parameters);
  ReferencePlan reference;
  SkippingPlan skipping;
  FusedPlan fused;
  for (Plan* plan : std::vector<Plan*>{&reference, &skipping, &fused}) {
    const at::Tensor ours = plan->Forward(model, images, options).logits;
    EXPECT_LT((ours - logits).abs().max().item<double>(), 1e-11);
    const std::vector<at::Tensor> gradients = torch::autograd::grad({ours.square().sum()}, parameters);
    for (size_t i = 0; i < parameters.size(); ++i) {
      EXPECT_LT((gradients[i] - expected[i]).abs().max().item<double>(),
                1e-9 * (1 + expected[i].abs().max().item<double>()))
          << model.parameters()[i].name;
    }
  }
}

TEST(DropoutInPlansTest, NothingIsDroppedInEvaluationOrWithoutDraws) {
  Model model = Model::Create(ResidualNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(model, 5);
  ReferencePlan reference;
  SkippingPlan skipping;
  FusedPlan fused;
  for (Plan* plan : std::vector<Plan*>{&reference, &skipping, &fused}) {
    ForwardOptions options = TrainOptions(model, 7);
    options.mode = Mode::kEvaluate;
    ForwardOptions undrawn = TrainOptions(model, 7);
    undrawn.kept.clear();
    for (const ForwardOptions& without : {options, undrawn}) {
      const ForwardResult result = plan->Forward(model, Ramp({7, 2, 6, 6}), without);
      for (const auto& [drop, input] : kDrops) {
        EXPECT_TRUE(at::equal(result.captured.at(drop), result.captured.at(input))) << drop;
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
