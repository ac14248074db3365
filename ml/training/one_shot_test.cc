#include "ml/training/one_shot.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/parse_plugin.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kFilters = 6, kImages = 100, kClasses = 3;

// A convolution of one channel, then mean and a linear layer: small enough to write its loss by hand.
Model Small() {
  NetworkWriter net;
  net.Classifier("fc", net.Conv("conv", net.Image(1, 4, 4), {kFilters, 3, 1, 1}), kClasses);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  int phase = 1;
  for (const NamedTensor& parameter : model.parameters()) {
    const at::Tensor values = at::arange(parameter.tensor.numel(), at::kDouble).mul(2.7 * phase++).sin();
    parameter.tensor.detach().copy_(values.view_as(parameter.tensor));
  }
  return model;
}

Dataset Data() {
  Dataset data;
  const at::Tensor pixels = at::arange(kImages * 16, at::kFloat).mul(0.37).cos();
  data.train = {pixels.view({kImages, 1, 4, 4}).contiguous(), at::arange(kImages, at::kLong).remainder(kClasses)};
  data.test = data.train;
  data.normalization = {1, {0.25}, {0.5}};
  data.info = InfoOf(kClasses, data.train, data.test);
  return data;
}

absl::Status Prune(Model& model, const std::string& text, const Dataset* data = nullptr, int64_t images = kImages) {
  return PruneOnce(model, *ParsePlugin("--pruning", "[type.googleapis.com/prunelab." + text), 1, data, images);
}

// The filters that are left, in order.
std::vector<int64_t> Live(const Model& model) {
  const at::Tensor live = model.masks().at("conv").reshape({kFilters, -1}).amax(1).nonzero().flatten();
  return std::vector<int64_t>(live.data_ptr<int64_t>(), live.data_ptr<int64_t>() + live.numel());
}

// The `count` filters with the largest of `importance`, in order.
std::vector<int64_t> Largest(const at::Tensor& importance, int64_t count) {
  const at::Tensor index = std::get<0>(std::get<1>(importance.topk(count)).sort());
  return std::vector<int64_t>(index.data_ptr<int64_t>(), index.data_ptr<int64_t>() + count);
}

// At rate r the floor(r n) + 1 smallest go.
TEST(OneShotTest, TheSmallestFiltersGoAndWeightsStay) {
  Model model = Small();
  const at::Tensor before = model.Get("conv.weight").detach().clone();
  const absl::Status status = Prune(model, "Static] { rate: 0.5 }");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Live(model), Largest(before.abs().sum({1, 2, 3}), 2));
  EXPECT_TRUE(before.equal(model.Get("conv.weight")));
}

TEST(OneShotTest, GradientsAreThoseOfTheMeanLossOverTheCalibrationImages) {
  const Dataset data = Data();
  // Two batches, one of them not full; and fewer images, for which another filter ranks lowest.
  for (const int64_t images : {kImages, int64_t{5}}) {
    Model model = Small();
    const at::Tensor weight = model.Get("conv.weight").detach().clone().requires_grad_(true);
    const at::Tensor x = data.train.images.slice(0, 0, images).to(at::kDouble).sub(0.25).div(0.5);
    const at::Tensor features = at::conv2d(x, weight, {}, 1, 1).mean({2, 3});
    const at::Tensor logits = at::linear(features, model.Get("fc.weight").detach(), model.Get("fc.bias").detach());
    const at::Tensor loss = at::cross_entropy_loss(logits, data.train.labels.slice(0, 0, images));
    const at::Tensor gradient = torch::autograd::grad({loss}, {weight})[0];
    const absl::Status status = Prune(model, "Static] { rate: 0.3 importance: GRADIENT }", &data, images);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(Live(model), Largest(gradient.abs().sum({1, 2, 3}), kFilters - 2)) << images;
  }
}

TEST(OneShotTest, WhatIsDoneAtTheEndsOfEpochsIsDone) {
  Model model = Small();
  const at::Tensor before = model.Get("conv.weight").detach().clone();
  const absl::Status status = Prune(model, "SoftFilter] { rate: 0.5 }");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Live(model), Largest(before.square().sum({1, 2, 3}), 2));
}

// Two updates that prune one filter each, the second by gradients under the first one's mask.
TEST(OneShotTest, GradientsAreThoseUnderTheMasksInForce) {
  const Dataset data = Data();
  Model model = Small();
  const at::Tensor weight = model.Get("conv.weight").detach().clone();
  const at::Tensor x = data.train.images.to(at::kDouble).sub(0.25).div(0.5);
  at::Tensor mask = at::ones({kFilters, 1, 1, 1}, at::kDouble);
  at::Tensor average;
  for (int pruning = 0; pruning < 2; ++pruning) {
    const at::Tensor masked = (weight * mask).requires_grad_(true);
    const at::Tensor features = at::conv2d(x, masked, {}, 1, 1).mean({2, 3});
    const at::Tensor logits = at::linear(features, model.Get("fc.weight").detach(), model.Get("fc.bias").detach());
    const at::Tensor gradient = torch::autograd::grad({at::cross_entropy_loss(logits, data.train.labels)}, {masked})[0];
    const at::Tensor importance = (gradient * weight).sum({1, 2, 3}).square();
    average = average.defined() ? 0.9 * average + 0.1 * importance : importance;
    mask[(average + 100 * (1 - mask.flatten())).argmin().item<int64_t>()].zero_();
  }
  const absl::Status status = Prune(model, "Taylor] { rate: 0.2 period: 100 filters_per_update: 1 }", &data);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Live(model), Largest(mask.flatten(), kFilters - 2));
}

// A gate after the batch norm, written out: the filters whose gates the loss feels least go, with their scale and
// shift.
TEST(OneShotTest, AGateAfterTheBatchNormIsWhatIsDifferentiated) {
  const Dataset data = Data();
  NetworkWriter net;
  const std::string x = net.BatchNorm("bn", net.Conv("conv", net.Image(1, 4, 4), {kFilters, 3, 1, 1}));
  net.Classifier("fc", net.Relu("relu", x), kClasses);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kDouble, at::kCPU);
  int phase = 1;
  for (const NamedTensor& parameter : model.parameters()) {
    const at::Tensor values = at::arange(parameter.tensor.numel(), at::kDouble).mul(2.7 * phase++).sin();
    parameter.tensor.detach().copy_(values.view_as(parameter.tensor));
  }
  const auto of = [&](const char* name) { return model.Get(name).detach().clone(); };
  const at::Tensor gate = at::ones({kFilters}, at::kDouble).requires_grad_(true);
  const at::Tensor pixels = data.train.images.to(at::kDouble).sub(0.25).div(0.5);
  const at::Tensor normalized = at::batch_norm(at::conv2d(pixels, of("conv.weight"), {}, 1, 1), of("bn.weight"),
                                               of("bn.bias"), of("bn.running_mean"), of("bn.running_var"),
                                               /*training=*/false, /*momentum=*/0, /*eps=*/1e-5, /*cudnn=*/false);
  const at::Tensor features = at::relu(normalized * gate.view({1, -1, 1, 1})).mean({2, 3});
  const at::Tensor logits = at::linear(features, of("fc.weight"), of("fc.bias"));
  const at::Tensor loss = at::cross_entropy_loss(logits, data.train.labels);
  const at::Tensor importance = torch::autograd::grad({loss}, {gate})[0].square();
  const absl::Status status =
      Prune(model, "Taylor] { rate: 0.3 period: 1 filters_per_update: 2 form: BATCH_NORM_GATE }", &data);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Live(model), Largest(importance, kFilters - 2));
  const at::Tensor mask = model.masks().at("conv").flatten();
  EXPECT_TRUE(model.Get("bn.weight").ne(0).eq(mask.ne(0)).all().item<bool>());
  EXPECT_TRUE(model.Get("bn.bias").ne(0).eq(mask.ne(0)).all().item<bool>());
}

// The loss's change with a filter's indicator, |sum of g w|, over the calibration images.
TEST(OneShotTest, AStrategyThatLooksSeesTheCalibrationImages) {
  const Dataset data = Data();
  Model model = Small();
  EXPECT_THAT(std::string(Prune(model, "Snip] { rate: 0.3 granularity: FILTER }").message()),
              HasSubstr("give it data"));
  const at::Tensor weight = model.Get("conv.weight").detach().clone().requires_grad_(true);
  const at::Tensor x = data.train.images.slice(0, 0, 5).to(at::kDouble).sub(0.25).div(0.5);
  const at::Tensor logits = at::linear(at::conv2d(x, weight, {}, 1, 1).mean({2, 3}), model.Get("fc.weight").detach(),
                                       model.Get("fc.bias").detach());
  const at::Tensor loss = at::cross_entropy_loss(logits, data.train.labels.slice(0, 0, 5));
  const at::Tensor effect = (torch::autograd::grad({loss}, {weight})[0] * weight.detach()).sum({1, 2, 3}).abs();
  const absl::Status status = Prune(model, "Snip] { rate: 0.3 granularity: FILTER }", &data, 5);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(Live(model), Largest(effect, kFilters - 2));
}

TEST(OneShotTest, WhatCannotBeDoneAtOnceIsRefused) {
  Model model = Small();
  EXPECT_THAT(std::string(Prune(model, "Static] { rate: 0.5 epoch: 1 importance: GRADIENT }").message()),
              HasSubstr("give calibration data"));
  EXPECT_THAT(std::string(Prune(model, "NoPruning] {}").message()), HasSubstr("masked nothing in 300 epochs"));
  EXPECT_THAT(std::string(Prune(model, "Static] { rate: 1.5 }").message()), HasSubstr("rate"));
  EXPECT_TRUE(model.masks().empty() || Live(model).size() == kFilters);
}

TEST(OneShotTest, WhereAsMuchIsMaskedAlreadyThatIsSaid) {
  Model model = Small();
  at::Tensor mask = at::ones({kFilters, 1, 1, 1}, model.Get("conv.weight").options().requires_grad(false));
  mask.slice(0, 0, 2).zero_();
  model.SetMasks({{"conv", mask}});
  const int64_t weights = model.Get("conv.weight").numel();
  EXPECT_THAT(std::string(Prune(model, "NoPruning] {}").message()),
              HasSubstr(absl::StrCat("masked nothing more: ", 2 * weights / kFilters, " of ", weights, " weights")));
  EXPECT_EQ(Live(model).size(), static_cast<size_t>(kFilters) - 2);
}

TEST(OneShotTest, FieldsThatOnlyATrainingReadsAreNamed) {
  Model model = Small();
  const auto message = [&](const char* text) { return std::string(Prune(model, text).message()); };
  EXPECT_THAT(message("Static] { rate: 0.5 epoch: 7 }"), AllOf(HasSubstr("epoch is set"), HasSubstr("leave it out")));
  EXPECT_THAT(message("Static] { rate: 0.5 epoch: 1 }"), HasSubstr("epoch is set"));
  EXPECT_THAT(message("DynamicL1] { rate: 0.5 period: 2 first_epoch: 3 last_epoch: 5 }"),
              AllOf(HasSubstr("period, first_epoch, last_epoch are set"), HasSubstr("leave them out")));
  EXPECT_THAT(message("Unstructured] { one_shot { epoch: 2 } gradient: STRAIGHT_THROUGH }"),
              HasSubstr("one_shot.epoch, gradient are set"));
  EXPECT_THAT(message("Unstructured] { gradual { period: 5 } }"), HasSubstr("gradual is set"));
  EXPECT_THAT(message("Random] { redraw: true gradient: MASKED }"), HasSubstr("redraw, gradient are set"));
  EXPECT_THAT(message("Gradual] { initial_rate: 0.1 end_epoch: 4 }"), HasSubstr("initial_rate, end_epoch are set"));
  EXPECT_THAT(message("Lamp] { rounds: 2 round_epochs: 3 }"), HasSubstr("round_epochs is set"));
  EXPECT_TRUE(model.masks().empty()) << "nothing was masked";
  // Values that agree with what is done here are accepted: a default, and what a ranking by gradients requires.
  EXPECT_EQ(message("Static] { rate: 0.5 epoch: 0 }"), "");
  const Dataset data = Data();
  EXPECT_EQ(Prune(model, "Static] { rate: 0.5 epoch: 1 importance: GRADIENT }", &data).message(), "");
  model = Small();
  EXPECT_EQ(message("DynamicL1] { rate: 0.5 }"), "");
  EXPECT_EQ(Live(model).size(), 2u);
}

TEST(OneShotTest, WhatIsMaskedCountsAsZeroAndStaysMasked) {
  for (const char* strategy : {"Static] { rate: 0.3 }", "DynamicL1] { rate: 0.3 }", "SoftFilter] { rate: 0.3 }"}) {
    SCOPED_TRACE(strategy);
    Model model = Small();
    at::Tensor magnitude = model.Get("conv.weight").detach().abs().sum({1, 2, 3});
    const int64_t largest = magnitude.argmax().item<int64_t>();
    at::Tensor mask = at::ones({kFilters, 1, 1, 1}, at::kDouble);
    mask[largest].zero_();
    model.SetMasks({{"conv", mask}});
    ASSERT_TRUE(Prune(model, strategy).ok());
    // Two are pruned: the filter that was masked before, which had the largest weights, and the smallest of the others.
    magnitude[largest] = 0;
    EXPECT_EQ(Live(model), Largest(magnitude, kFilters - 2));
    EXPECT_EQ(model.Get("conv.weight").detach()[largest].abs().max().item<double>(), 0);
  }
}

TEST(OneShotTest, WeightsOnTopOfFiltersAndFiltersOnTopOfWeights) {
  Model model = Small();
  at::Tensor filters = at::ones({kFilters, 1, 1, 1}, at::kDouble);
  filters[4].zero_();
  model.SetMasks({{"conv", filters}});
  ASSERT_TRUE(Prune(model, "Unstructured] { rate: 0.5 ranking { min_live_filters: 6 } }").ok());
  const at::Tensor weights = model.masks().at("conv");
  EXPECT_EQ(weights[4].max().item<double>(), 0) << "the strategy wanted it live";
  EXPECT_EQ(weights.sum().item<double>(), kFilters * 9 - (kFilters * 9 / 2 + 1) - 1);
  ASSERT_TRUE(Prune(model, "Static] { rate: 0.3 }").ok());
  const at::Tensor both = model.masks().at("conv");
  ASSERT_EQ(both.sizes(), weights.sizes());
  EXPECT_TRUE((both <= weights).all().item<bool>());
  EXPECT_EQ(both.flatten(1).amax(1).sum().item<double>(), kFilters - 2);
}

}  // namespace
}  // namespace prunelab
