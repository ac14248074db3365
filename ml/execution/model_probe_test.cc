#include "ml/execution/model_probe.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <map>
#include <string>

#include "ml/base/random.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kImages = 10;

Model Small(at::ScalarType dtype) {
  NetworkWriter net;
  std::string x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", net.Image(1, 5, 5), {4, 3, 1, 1})));
  x = net.Relu("relu2", net.BatchNorm("bn2", net.Conv("conv2", x, {3, 3, 1, 1})));
  net.Classifier("fc", x, 3);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), dtype, at::kCPU);
  InitializeParameters(model, 5);
  return model;
}

// Every pixel of image i is i, and its class is i % 3.
LabelledImages Numbered() {
  const at::Tensor pixels = at::arange(kImages, at::kFloat).view({-1, 1, 1, 1}).expand({kImages, 1, 5, 5});
  return {pixels.contiguous(), at::arange(kImages).remainder(3)};
}

at::Tensor Images(at::ScalarType dtype) {
  return at::arange(100, at::kDouble).mul(0.7).sin().view({4, 1, 5, 5}).to(dtype);
}

TEST(ModelProbeTest, ImagesComeInASeededOrderAndEndWithTheData) {
  const Model model = Small(at::kDouble);
  const LabelledImages data = Numbered();
  const Normalization normalization = {1, {1}, {2}};
  const ModelProbe probe(model, &data, &normalization, 7);
  const ProbeBatch all = *probe.TrainingImages(0, 100);
  ASSERT_EQ(all.images.size(0), kImages);
  EXPECT_EQ(all.images.scalar_type(), at::kDouble);
  const at::Tensor number = all.images.select(1, 0).select(1, 2).select(1, 2) * 2 + 1;
  EXPECT_TRUE(std::get<0>(number.sort()).equal(at::arange(kImages, at::kDouble)));
  EXPECT_FALSE(number.equal(at::arange(kImages, at::kDouble)));
  EXPECT_TRUE(all.labels.equal(number.to(at::kLong).remainder(3)));
  const ProbeBatch some = *probe.TrainingImages(8, 5);
  EXPECT_TRUE(some.images.equal(all.images.slice(0, 8)));
  EXPECT_EQ(probe.TrainingImages(12, 5)->images.size(0), 0);
  EXPECT_TRUE(ModelProbe(model, &data, &normalization, 7).TrainingImages(0, 100)->images.equal(all.images));
  EXPECT_FALSE(ModelProbe(model, &data, &normalization, 8).TrainingImages(0, 100)->images.equal(all.images));
}

TEST(ModelProbeTest, WithoutDataThereAreNoImages) {
  const Model model = Small(at::kFloat);
  const absl::Status status = ModelProbe(model, nullptr, nullptr, 1).TrainingImages(0, 1).status();
  EXPECT_THAT(std::string(status.message()), HasSubstr("give it data"));
}

TEST(ModelProbeTest, TensorsAndMasksStandInAndNothingChanges) {
  Model model = Small(at::kFloat);
  model.SetMasks({{"conv1", at::tensor({1.f, 0.f, 1.f, 1.f}).view({4, 1, 1, 1})}});
  std::map<std::string, at::Tensor> before;
  for (const NamedTensor& buffer : model.buffers()) before[buffer.name] = buffer.tensor.clone();
  const ModelProbe probe(model, nullptr, nullptr, 1);
  ProbeRequest request;
  request.images = Images(at::kFloat);
  request.capture = {"bn1"};
  const ProbeResult own = probe.Forward(request);
  EXPECT_FALSE(own.logits.requires_grad());
  EXPECT_EQ(own.captured.at("bn1").select(1, 1).abs().max().item<float>(), 0);  // running mean 0, bias 0

  request.mode = ProbeMode::kTrainStatistics;
  const at::Tensor trained = probe.Forward(request).captured.at("bn1").transpose(0, 1).flatten(1);
  EXPECT_LT(trained.mean(1).abs().max().item<float>(), 1e-5);  // by the batch's statistics
  for (const NamedTensor& buffer : model.buffers()) EXPECT_TRUE(buffer.tensor.equal(before.at(buffer.name)));

  // A mask of ones with zero weights in the masked filter is the same as the mask; this time in float64.
  request.mode = ProbeMode::kEvaluation;
  request.images = Images(at::kDouble);
  request.masks["conv1"] = at::ones({4, 1, 1, 1});
  request.parameters["conv1.weight"] = model.MaskedWeight("conv1");
  const ProbeResult other = probe.Forward(request);
  EXPECT_EQ(other.logits.scalar_type(), at::kDouble);
  EXPECT_TRUE(at::allclose(other.logits, own.logits.to(at::kDouble), 1e-5, 1e-6));
  EXPECT_EQ(model.masks().at("conv1").sum().item<float>(), 3);
}

// The Hessian times a vector, by differentiating twice, is the central difference of gradients.
TEST(ModelProbeTest, TheResultCanBeDifferentiatedTwice) {
  Model model = Small(at::kDouble);
  at::Tensor mask = at::ones({4, 1, 3, 3}, at::kDouble);
  mask[2][0][1][1] = 0;
  model.SetMasks({{"conv1", mask}});
  const ModelProbe probe(model, nullptr, nullptr, 1);
  const at::Tensor labels = at::tensor({0, 2, 1, 1}, at::kLong);
  const at::Tensor weight = probe.Tensor("conv1.weight");
  const at::Tensor vector = at::arange(weight.numel(), at::kDouble).mul(1.3).cos().view_as(weight);
  for (const ProbeMode mode : {ProbeMode::kEvaluation, ProbeMode::kTrainStatistics}) {
    const auto gradient = [&](const at::Tensor& leaf, bool create_graph) {
      ProbeRequest request;
      request.images = Images(at::kDouble);
      request.mode = mode;
      request.parameters["conv1.weight"] = leaf;
      const at::Tensor loss = at::cross_entropy_loss(probe.Forward(request).logits, labels);
      return torch::autograd::grad({loss}, {leaf}, {}, create_graph, create_graph)[0];
    };
    const at::Tensor leaf = weight.clone().requires_grad_(true);
    const at::Tensor first = gradient(leaf, true);
    EXPECT_EQ(first[2][0][1][1].item<double>(), 0);
    const at::Tensor product = torch::autograd::grad({(first * vector).sum()}, {leaf})[0];
    const double step = 1e-5;
    const at::Tensor above = gradient((weight + step * vector).requires_grad_(true), false);
    const at::Tensor below = gradient((weight - step * vector).requires_grad_(true), false);
    EXPECT_TRUE(at::allclose(product, (above - below) / (2 * step), 1e-5, 1e-8));
  }
}

}  // namespace
}  // namespace prunelab
