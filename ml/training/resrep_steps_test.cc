// Compares a training by ResRep with PyTorch's; tools/reference/resrep_values.py computed the values.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "ml/network/compactors.h"
#include "ml/network/network_writer.h"
#include "ml/training/resrep_values.h"
#include "ml/training/testing/hashed_training.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

NetworkInfo SmallNetwork() {
  NetworkWriter net;
  std::string x = net.Image(2, 5, 5);
  x = net.Relu("relu1", net.BatchNorm("an", net.Conv("a", x, {4, 3, 1, 1})));
  x = net.Relu("relu2", net.BatchNorm("bn", net.Conv("b", x, {3, 3, 1, 1})));
  net.Classifier("fc", x, 2);
  return *NetworkInfo::Create(*WithCompactors(*NetworkInfo::Create(net.Take()), {"a", "b"}));
}

// `fill` of the script.
at::Tensor Filled(const std::string& name, at::IntArrayRef shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  const at::Tensor k = at::arange(count, at::kDouble);
  at::Tensor numbers = at::mul(at::sin(k * 0.7 + 0.3 * static_cast<double>(name.size())), 0.4).view(shape);
  if (absl::EndsWith(name, ".compactor.weight")) {
    numbers = at::eye(shape[0], at::kDouble).view(shape) + numbers / 4;
  }
  return name == "an.weight" || name == "bn.weight" ? numbers + 1 : numbers;
}

std::string Learning(const PruningStrategy& strategy, const std::string& conv) {
  const at::Tensor learns = strategy.learns_from_loss().at(CompactorOf(conv)).flatten();
  std::string text;
  for (int64_t i = 0; i < learns.size(0); ++i) text += learns[i].item<double>() != 0 ? '1' : '0';
  return text;
}

// By the plan that skips and by the one that does not; with the strategy's state taken over before each step.
TEST(ResrepStepsTest, EqualPyTorchs) {
  Dataset data;
  const at::Tensor k = at::arange(8 * 2 * 5 * 5, at::kDouble);
  data.train.images = at::cos(k * 0.37).view({8, 2, 5, 5}).to(at::kFloat);
  data.train.labels = at::arange(8, at::kLong).remainder(2);
  data.test = data.train;
  data.normalization = {1, {0, 0}, {1, 1}};
  for (const bool skipping : {false, true}) {
    for (const bool restarts : {false, true}) {
      SCOPED_TRACE(testing::Message() << "skipping " << skipping << ", restarts " << restarts);
      const auto epochs = static_cast<int64_t>(ResrepLearning().size());
      const PruningStrategy* strategy = nullptr;
      const auto make = [&] {
        TrainingSetup setup;
        setup.network = SmallNetwork();
        setup.dataset = &data;
        setup.config.set_epochs(epochs);
        setup.config.set_batch_size(8);
        setup.config.set_skipping(skipping);
        setup.config.mutable_sgd()->set_learning_rate(0.1);
        setup.config.mutable_sgd()->set_momentum(0.9);
        setup.config.mutable_schedule()->mutable_constant();
        setup.dtype = at::kDouble;
        setup.initial_weights.emplace();
        Model model = Model::Create(setup.network, at::kDouble, at::kCPU);
        InitializeParameters(model, 1);
        for (const NamedTensor& buffer : model.buffers()) setup.initial_weights->tensors[buffer.name] = buffer.tensor;
        for (const NamedTensor& parameter : model.parameters()) {
          setup.initial_weights->tensors[parameter.name] = Filled(parameter.name, parameter.tensor.sizes());
        }
        setup.strategy = *CreatePruningStrategy(
            PluginOf("Resrep] { rate: 0.5 first_epoch: 2 period: 2 filters_at_a_time: 1 threshold: 1e-9 }"),
            {&setup.network, 1});
        strategy = setup.strategy.get();
        setup.regularizer =
            *CreateRegularizer(PluginOf("GroupLasso] { layers { include: '*.compactor' } }"), setup.network);
        setup.penalty_weight = 0.05;
        return *Trainer::Create(std::move(setup));
      };
      std::unique_ptr<Trainer> trainer = make();
      for (int64_t epoch = 0; epoch < epochs; ++epoch) {
        if (restarts && epoch > 0) {
          const auto state = trainer->SaveState();
          trainer = make();
          ASSERT_TRUE(trainer->LoadState(state, "state").ok());
        }
        ASSERT_TRUE(trainer->RunEpoch().ok());
        EXPECT_EQ(Learning(*strategy, "a"), ResrepLearning()[epoch][0]) << epoch;
        EXPECT_EQ(Learning(*strategy, "b"), ResrepLearning()[epoch][1]) << epoch;
      }
      ASSERT_EQ(trainer->model().parameters().size(), ResrepParameters().size());
      for (const NamedTensor& parameter : trainer->model().parameters()) {
        const at::Tensor expected = at::tensor(ResrepParameters().at(parameter.name), at::kDouble);
        EXPECT_LT((parameter.tensor.detach().contiguous().flatten() - expected).abs().max().item<double>(), 1e-9)
            << parameter.name;
      }
    }
  }
}

}  // namespace
}  // namespace prunelab
