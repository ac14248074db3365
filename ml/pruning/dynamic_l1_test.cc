#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"
#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/testing/example_layers.h"

namespace prunelab {
namespace {

using ::testing::HasSubstr;

class DynamicL1Test : public ::testing::Test {
 protected:
  absl::StatusOr<std::unique_ptr<PruningStrategy>> Create(const DynamicL1& parameters) const {
    PruningSetup setup;
    setup.network = &network_;
    return CreatePruningStrategy(parameters, setup);
  }
  static StepPosition At(int64_t epoch, int64_t iteration) {
    StepPosition position;
    position.epoch = epoch;
    position.iteration = iteration;
    position.iterations_per_epoch = 8;
    return position;
  }
  const NetworkInfo network_ = ExampleNetwork();
};

TEST_F(DynamicL1Test, DefaultsAreThePapers) {
  const DynamicL1 parameters;
  EXPECT_EQ(parameters.rate(), 0.6);
  EXPECT_EQ(parameters.period(), 4);
  const auto strategy = *Create(parameters);
  EXPECT_EQ(strategy->granularity(), Granularity::kFilter);
  EXPECT_EQ(strategy->gradient_policy(), GradientPolicy::kStraightThrough);
  EXPECT_FALSE(strategy->needs_gradients());
}

TEST_F(DynamicL1Test, UpdatesAtThePeriodAndInTheEpochsAsked) {
  DynamicL1 parameters;
  parameters.set_first_epoch(1);
  parameters.set_last_epoch(2);
  const auto strategy = *Create(parameters);
  const std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    for (int64_t iteration = 0; iteration < 8; ++iteration) {
      const bool expected = (epoch == 1 || epoch == 2) && (iteration == 3 || iteration == 7);
      EXPECT_EQ((*strategy->Update(At(epoch, iteration), layers)).has_value(), expected) << epoch << " " << iteration;
    }
  }
}

TEST_F(DynamicL1Test, AMaskedFilterReturnsWhenItsDenseWeightsGrow) {
  const auto strategy = *Create(DynamicL1());
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  layers[0].weight[2].fill_(1e-3);
  std::map<std::string, at::Tensor> masks = (*strategy->Update(At(0, 3), layers))->masks;
  EXPECT_EQ(MaskedCount(masks), 22);  // int(36 * 0.6) + 1
  EXPECT_EQ(masks.at("stem")[2].item<float>(), 0);
  for (PrunableLayer& layer : layers) layer.mask = masks.at(layer.node);
  layers[0].weight[2].fill_(-9);
  masks = (*strategy->Update(At(0, 7), layers))->masks;
  EXPECT_EQ(masks.at("stem")[2].item<float>(), 1);
  EXPECT_EQ(MaskedCount(masks), 22);
}

TEST_F(DynamicL1Test, GradientImportances) {
  DynamicL1 parameters;
  parameters.set_importance(Importance::GRADIENT);
  const auto strategy = *Create(parameters);
  EXPECT_TRUE(strategy->needs_gradients());
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  for (PrunableLayer& layer : layers) layer.gradient = at::Tensor();
  const absl::Status status = strategy->Update(At(0, 3), layers).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()), HasSubstr("stem"));
  EXPECT_TRUE(strategy->Update(At(0, 2), layers).ok());
  // Refused at once where the first update would come before any step.
  parameters.set_period(1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "importance");
  parameters.set_first_epoch(1);
  EXPECT_TRUE(Create(parameters).ok());
}

TEST_F(DynamicL1Test, WhatAFilterReturnsWith) {
  std::vector<at::Tensor> fresh;
  for (const OnReturn::Kind kind : {OnReturn::KEEP, OnReturn::RENORMALISE, OnReturn::REINITIALISE}) {
    SCOPED_TRACE(OnReturn::Kind_Name(kind));
    DynamicL1 parameters;
    parameters.set_on_return(kind);
    parameters.mutable_layers()->set_include("stem");
    for (int repeat = 0; repeat < 2; ++repeat) {
      const auto strategy = *Create(parameters);
      std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
      PrunableLayer& stem = layers[0];
      stem.weight[2].fill_(1e-3);
      const auto off = *strategy->Update(At(0, 3), layers);
      stem.mask = off->masks.at("stem");
      ASSERT_EQ(stem.mask[2].item<float>(), 0);
      stem.weight[2].fill_(-9);
      const at::Tensor before = stem.weight.clone();
      const auto update = *strategy->Update(At(0, 7), layers);
      const at::Tensor returns = update->masks.at("stem").ne(0) & stem.mask.eq(0);
      ASSERT_TRUE(returns[2].item<bool>());
      EXPECT_TRUE(at::equal(stem.weight, before)) << "a strategy changes nothing itself";
      if (kind == OnReturn::KEEP) {
        EXPECT_TRUE(update->new_weights.empty());
        EXPECT_EQ(update->momentum, MaskUpdate::Momentum::kKeep);
        continue;
      }
      EXPECT_EQ(update->momentum, MaskUpdate::Momentum::kZeroGrown);
      const at::Tensor after = update->new_weights.at("stem.weight");
      for (int64_t filter = 0; filter < 8; ++filter) {
        if (!returns[filter].item<bool>()) EXPECT_TRUE(at::equal(after[filter], before[filter])) << filter;
      }
      if (kind == OnReturn::RENORMALISE) {
        double sum = 0, count = 0;
        for (int64_t filter = 0; filter < 8; ++filter) {
          if (stem.mask[filter].item<float>() == 0) continue;
          sum += std::sqrt(before[filter].to(at::kDouble).square().sum().item<double>());
          ++count;
        }
        EXPECT_NEAR(after[2].norm().item<double>(), sum / count, 1e-4);
        EXPECT_LT(after[2].max().item<float>(), 0);  // the direction stays
        EXPECT_NEAR(after[2].min().item<float>(), after[2].max().item<float>(), 1e-6);
      } else {
        fresh.push_back(after[2].clone());
        // He's deviation, sqrt(2 / (8 * 9)), of 27 numbers.
        EXPECT_NEAR(after[2].std().item<double>(), std::sqrt(2.0 / 72), 0.08);
      }
    }
  }
  ASSERT_EQ(fresh.size(), 2u);
  EXPECT_TRUE(at::equal(fresh[0], fresh[1]));  // a function of seed, layer and step
}

TEST_F(DynamicL1Test, ImportanceOfDirectionsAlone) {
  DynamicL1 parameters;
  parameters.set_importance(Importance::DIRECTION);
  parameters.set_rate(0.5);
  parameters.mutable_layers()->set_include("stem");
  const auto strategy = *Create(parameters);
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  const at::Tensor weight = layers[0].weight;
  std::vector<std::pair<double, int64_t>> scores;
  for (int64_t i = 0; i < 8; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < 8; ++j) {
      const at::Tensor a = weight[i].to(at::kDouble), b = weight[j].to(at::kDouble);
      if (i != j) sum += std::abs(((a * b).sum() / (a.norm() * b.norm())).item<double>());
    }
    scores.push_back({1 - sum / 7, i});
  }
  std::sort(scores.begin(), scores.end());
  weight[scores[7].second] *= 1e-4;  // lengths do not matter
  weight[scores[0].second] *= 1e4;
  const at::Tensor mask = (*strategy->Update(At(0, 3), layers))->masks.at("stem").flatten();
  for (int k = 0; k < 8; ++k) EXPECT_EQ(mask[scores[k].second].item<float>(), k > 4) << k;  // int(8 * 0.5) + 1 are off
  parameters.set_granularity(MaskUnit::WEIGHT);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "granularity");
}

TEST_F(DynamicL1Test, ImportanceOfTheBatchNormsScale) {
  class Scales : public NetworkProbe {
   public:
    explicit Scales(const NetworkInfo& network) : network_(network) {}
    const NetworkInfo& network() const override { return network_; }
    at::Tensor Tensor(const std::string& name) const override {
      asked.push_back(name);
      return at::tensor({0.1, -0.9, 0.3, 0.8, -0.2, 0.5, 0.05, 0.7});
    }
    absl::StatusOr<ProbeBatch> TrainingImages(int64_t, int64_t) const override { return ProbeBatch(); }
    ProbeResult Forward(const ProbeRequest&) const override { return {}; }
    mutable std::vector<std::string> asked;

   private:
    const NetworkInfo& network_;
  };
  // The stem has a batch norm, the other convolution has none.
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.Conv("stem", "image", {8, 3, 1, 1});
  net.BatchNorm("bn", "stem");
  net.Conv("other", "bn", {4, 3, 1, 1});
  net.Classifier("fc", "other", 3);
  const NetworkInfo network = *NetworkInfo::Create(net.Take());
  PruningSetup fresh;
  fresh.network = &network;
  fresh.fresh_weights = true;
  DynamicL1 parameters;
  parameters.set_importance(Importance::BATCH_NORM_SCALE);
  parameters.set_rate(0.5);
  const absl::StatusOr<std::unique_ptr<PruningStrategy>> strategy = CreatePruningStrategy(parameters, fresh);
  ASSERT_TRUE(strategy.ok()) << strategy.status();
  EXPECT_TRUE((*strategy)->needs_probe());
  const Scales scales(network);
  (*strategy)->Attach(scales);
  std::vector<PrunableLayer> layers = ExampleLayers(Granularity::kFilter, 1);
  const auto update = *(*strategy)->Update(At(0, 3), {layers[0], {"other", layers[1].weight, layers[1].mask, {}}});
  // Off are the five smallest: 0.05, 0.1, 0.2, 0.3, 0.5.
  EXPECT_EQ(update->masks.size(), 1u);
  EXPECT_TRUE(at::equal(update->masks.at("stem").flatten(), at::tensor({0, 1, 0, 1, 0, 0, 0, 1}).to(at::kFloat)));
  EXPECT_EQ(scales.asked, std::vector<std::string>{"bn.weight"});
  EXPECT_EQ(ErrorField(Create(parameters).status()), "importance");  // no batch norms at all
  // All scales of fresh batch norms are 1.
  parameters.set_period(1);
  EXPECT_EQ(ErrorField(CreatePruningStrategy(parameters, fresh).status()), "importance");
}

TEST_F(DynamicL1Test, RefusesWhatMakesNoSense) {
  DynamicL1 parameters;
  parameters.mutable_dead_gradient()->set_scale(-1);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "dead_gradient.scale");
  parameters.clear_dead_gradient();
  parameters.set_granularity(MaskUnit::WEIGHT);
  parameters.set_on_return(OnReturn::RENORMALISE);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "on_return");
  parameters.clear_on_return();
  EXPECT_TRUE(Create(parameters).ok());
  parameters.mutable_dead_gradient()->set_as_live(true);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "dead_gradient.as_live");
}

TEST_F(DynamicL1Test, DeadGradientsAreToldToTheLoop) {
  DynamicL1 parameters;
  EXPECT_FALSE((*Create(parameters))->dead_gradient().changes());
  parameters.mutable_dead_gradient()->set_scale(0.125);
  parameters.mutable_dead_gradient()->set_as_live(true);
  const DeadGradient dead = (*Create(parameters))->dead_gradient();
  EXPECT_EQ(dead.scale, 0.125);
  EXPECT_TRUE(dead.as_live);
}

TEST_F(DynamicL1Test, RefusesAnEmptyRangeOfEpochs) {
  DynamicL1 parameters;
  parameters.set_first_epoch(3);
  parameters.set_last_epoch(2);
  EXPECT_EQ(ErrorField(Create(parameters).status()), "last_epoch");
}

}  // namespace
}  // namespace prunelab
