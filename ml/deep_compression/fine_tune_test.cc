#include "ml/deep_compression/fine_tune.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <string>
#include <vector>

#include "ml/base/random.h"
#include "ml/data/batches.h"
#include "ml/execution/plan.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A convolution and a linear layer.
Model SmallModel() {
  NetworkWriter net;
  const std::string x = net.Relu("relu", net.Conv("conv", net.Image(1, 4, 4), {6, 3, 1, 1, /*bias=*/true}));
  net.Linear("fc", net.Flatten("flat", x), 3);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  return model;
}

// Pictures whose label is their brightest quarter.
LabelledImages Pictures(int64_t count) {
  RandomStream stream(2, "pictures");
  LabelledImages pictures = {at::zeros({count, 1, 4, 4}), at::zeros({count}, at::kLong)};
  for (int64_t i = 0; i < count; ++i) {
    const auto label = static_cast<int64_t>(stream.Below(3));
    for (int64_t j = 0; j < 16; ++j) {
      pictures.images.data_ptr<float>()[16 * i + j] = static_cast<float>(stream.Normal() + (j / 4 == label ? 1.5 : 0));
    }
    pictures.labels.data_ptr<int64_t>()[i] = label;
  }
  return pictures;
}

const Normalization& Plain() {
  static const Normalization plain = {1, {0}, {1}};
  return plain;
}

// Shares the model's weights, and masks a third of the convolution's.
std::map<std::string, SharedWeights> Share(Model& model) {
  at::Tensor mask = at::ones(model.Get("conv.weight").sizes());
  mask.view({-1}).narrow(0, 0, 18).fill_(0);
  model.SetMasks({{"conv", mask}});
  std::map<std::string, SharedWeights> layers;
  for (const char* name : {"conv.weight", "fc.weight"}) {
    at::Tensor weight = model.Get(name).detach();
    if (std::string(name) == "conv.weight") weight = weight * mask;
    layers[name] = ShareWeights(weight.contiguous(), 4);
    model.Get(name).detach().copy_(ValuesOf(layers[name]));
  }
  return layers;
}

TEST(FineTuneTest, LearnsWithoutChangingTheGroups) {
  Model model = SmallModel();
  const std::map<std::string, SharedWeights> layers = Share(model);
  const at::Tensor bias = model.Get("conv.bias").detach().clone();
  FineTuneOptions options;
  options.epochs = 20;
  options.learning_rate = 1e-2;
  const absl::StatusOr<std::vector<double>> losses = FineTuneCodebooks(model, layers, Pictures(300), Plain(), options);
  ASSERT_TRUE(losses.ok()) << losses.status();
  ASSERT_EQ(losses->size(), 20u);
  EXPECT_LT(losses->back(), 0.8 * losses->front());
  EXPECT_TRUE(at::equal(model.Get("conv.bias").detach(), bias));
  for (const auto& [name, shared] : layers) {
    const at::Tensor weight = model.Get(name).detach().contiguous();
    EXPECT_TRUE((weight.index({shared.indices < 0}) == 0).all().item<bool>()) << name;
    for (int64_t k = 0; k < shared.codebook.numel(); ++k) {
      const at::Tensor members = weight.index({shared.indices == k});
      EXPECT_TRUE((members == members[0]).all().item<bool>()) << name << " " << k;
      EXPECT_NE(members[0].item<float>(), shared.codebook[k].item<float>()) << name << " " << k;
    }
  }
}

// One step against autograd through the codebooks, written out: codebook - rate * gradient.
TEST(FineTuneTest, AStepIsAutogradsOnTheCodebook) {
  Model model = SmallModel();
  const std::map<std::string, SharedWeights> layers = Share(model);
  const LabelledImages pictures = Pictures(40);
  std::vector<at::Tensor> codebooks;
  std::map<std::string, at::Tensor> weights;
  for (const auto& [name, shared] : layers) {
    codebooks.push_back(shared.codebook.clone().requires_grad_(true));
    const at::Tensor index = shared.indices.flatten().to(at::kLong) + 1;
    weights[name] = at::cat({at::zeros({1}), codebooks.back()}).index_select(0, index).view(shared.indices.sizes());
  }
  const at::Tensor x = at::relu(at::conv2d(pictures.images, weights["conv.weight"], model.Get("conv.bias").detach(),
                                           at::IntArrayRef({1, 1}), at::IntArrayRef({1, 1})));
  const at::Tensor logits = at::linear(x.flatten(1), weights["fc.weight"], model.Get("fc.bias").detach());
  const at::Tensor loss = at::cross_entropy_loss(logits, pictures.labels);
  const std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, codebooks);
  FineTuneOptions options;
  options.batch_size = 40;
  options.learning_rate = 0.05;
  const absl::StatusOr<std::vector<double>> losses = FineTuneCodebooks(model, layers, pictures, Plain(), options);
  ASSERT_TRUE(losses.ok());
  EXPECT_NEAR(losses->at(0), loss.item<double>(), 1e-5);
  size_t layer = 0;
  for (const auto& [name, shared] : layers) {
    const at::Tensor moved = shared.codebook - 0.05 * gradients[layer++];
    const at::Tensor wanted = ValuesOf({moved, shared.indices});
    EXPECT_LE((model.Get(name).detach() - wanted).abs().max().item<double>(), 1e-6) << name;
    EXPECT_GT((moved - shared.codebook).abs().max().item<double>(), 1e-3) << "the step is large enough to be seen";
  }
}

// As of another output, or of a node that nothing reads.
TEST(FineTuneTest, ALayerThatDoesNotLeadToTheLogitsStaysAsItIs) {
  NetworkWriter net;
  const std::string x = net.Flatten("flat", net.Conv("conv", net.Image(1, 4, 4), {6, 3, 1, 1, /*bias=*/true}));
  net.Linear("side", x, 3);
  net.Linear("fc", x, 3);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  InitializeParameters(model, 1);
  std::map<std::string, SharedWeights> layers = Share(model);
  layers["side.weight"] = ShareWeights(model.Get("side.weight").detach().contiguous(), 4);
  model.Get("side.weight").detach().copy_(ValuesOf(layers["side.weight"]));
  const auto of = [&](const char* name) { return model.Get(name).detach().clone(); };
  const at::Tensor side = of("side.weight"), fc = of("fc.weight");
  ASSERT_TRUE(FineTuneCodebooks(model, layers, Pictures(40), Plain(), FineTuneOptions()).ok());
  EXPECT_TRUE(at::equal(of("side.weight"), side));
  EXPECT_FALSE(at::equal(of("fc.weight"), fc));
}

TEST(FineTuneTest, RepeatsAndStops) {
  Model first = SmallModel(), second = SmallModel();
  const std::map<std::string, SharedWeights> layers = Share(first);
  Share(second);
  ASSERT_TRUE(FineTuneCodebooks(first, layers, Pictures(100), Plain(), {}).ok());
  ASSERT_TRUE(FineTuneCodebooks(second, layers, Pictures(100), Plain(), {}).ok());
  EXPECT_TRUE(at::equal(first.Get("fc.weight"), second.Get("fc.weight")));
  FineTuneOptions options;
  options.epochs = 50;
  options.learning_rate = 1e30;
  const absl::Status status = FineTuneCodebooks(first, layers, Pictures(100), Plain(), options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), testing::HasSubstr("a lower learning rate than 1e+30 may help"));
}

}  // namespace
}  // namespace prunelab
