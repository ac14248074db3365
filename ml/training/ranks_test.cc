// Trainings by several ranks, which are threads here. With synchronized batch norms they compute what one process
// computes, so they are compared with PyTorch's trainings of recipes.safetensors; without, with PyTorch's
// DistributedDataParallel (tools/reference/ranks_values.py made ranks.safetensors and says what it contains).
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "ml/base/field_error.h"
#include "ml/distributed/testing/rank_threads.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/testing/hashed_training.h"
#include "ml/training/testing/recipe_cases.h"
#include "ml/training/trainer.h"
#include "ml/training/training_config.h"

namespace prunelab {
namespace {

using google::protobuf::util::MessageDifferencer;

// What a rank's training came to.
struct Outcome {
  std::vector<EpochRecord> records;
  Safetensors state;
};

// Of each rank. `prepare` may change a setup, and `stops` whether a step is the last of a trainer, whose state another
// one then takes up: that of rank 0, as a checkpoint would have it.
struct Options {
  std::function<void(TrainingSetup&)> prepare = [](TrainingSetup&) {};
  bool stopped = false;
  int64_t epochs = kRecipeEpochs;
};

// Trains a case on `ranks`; 0: without ranks. `check` sees each rank's trainer at the end.
std::vector<Outcome> Train(const RecipeCase& test, at::ScalarType dtype, int64_t ranks, const Options& options = {},
                           const std::function<void(Trainer&, const EpochRecord&)>& check = {}) {
  std::vector<Outcome> outcomes(std::max<int64_t>(1, ranks));
  std::mutex mutex;
  const auto train = [&](Ranks* these) {
    const auto create = [&] {
      TrainingSetup setup;
      {
        const std::lock_guard<std::mutex> lock(mutex);  // expectations
        setup = SetupOf(test, dtype);
      }
      setup.ranks = these;
      setup.config.set_epochs(options.epochs);
      // One rank asks.
      if (options.stopped && (these == nullptr || these->rank() == these->size() - 1)) setup.stop = [] { return true; };
      options.prepare(setup);
      return *Trainer::Create(std::move(setup));
    };
    Outcome& outcome = outcomes[these == nullptr ? 0 : these->rank()];
    std::unique_ptr<Trainer> trainer = create();
    InitializeByHash(trainer->model());
    while (trainer->epoch() < options.epochs) {
      absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
      if (record.ok()) {
        outcome.records.push_back(*std::move(record));
        continue;
      }
      ASSERT_TRUE(options.stopped && absl::IsCancelled(record.status())) << record.status();
      std::string bytes = SerializeSafetensors(trainer->SaveState());
      if (these != nullptr) bytes = these->OfFirst(bytes);
      trainer = create();
      const absl::Status loaded = trainer->LoadState(*ParseSafetensors(bytes, "state"), "state");
      ASSERT_TRUE(loaded.ok()) << loaded;
    }
    outcome.state = trainer->SaveState();
    const std::lock_guard<std::mutex> lock(mutex);
    if (check) check(*trainer, outcome.records.back());
  };
  if (ranks == 0) {
    train(nullptr);
  } else {
    OnRanks(ranks, [&](Ranks& these) { train(&these); });
  }
  return outcomes;
}

void ExpectSame(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.records.size(), b.records.size());
  for (size_t i = 0; i < a.records.size(); ++i) {
    EXPECT_TRUE(MessageDifferencer::Equivalent(a.records[i].measures, b.records[i].measures))
        << a.records[i].measures.DebugString() << b.records[i].measures.DebugString();
  }
  ASSERT_EQ(a.state.tensors.size(), b.state.tensors.size());
  for (const auto& [name, tensor] : a.state.tensors) EXPECT_TRUE(at::equal(tensor, b.state.tensors.at(name))) << name;
}

RecipeCase Case(const std::string& name) {
  for (const RecipeCase& test : RecipeCases()) {
    if (test.name == name) return test;
  }
  ADD_FAILURE() << name;
  return RecipeCases()[0];
}

Options Synchronized() {
  Options options;
  options.prepare = [](TrainingSetup& setup) { setup.config.set_synchronized_batch_norm(true); };
  return options;
}

class SynchronizedTest : public testing::TestWithParam<std::tuple<RecipeCase, int64_t>> {};

// Batches of 6 and a last one of 4: the shares of 4 ranks are not of one size.
TEST_P(SynchronizedTest, EqualsPyTorchInOneProcess) {
  const auto& [test, ranks] = GetParam();
  const auto expected = [name = test.name](const char* what) {
    return ExpectedOfRecipe(absl::StrCat(name, "/", what));
  };
  const std::vector<Outcome> outcomes =
      Train(test, at::kDouble, ranks, Synchronized(), [&](Trainer& trainer, const EpochRecord& record) {
        EXPECT_LT(RelativeDifference(ParametersOf(trainer.model()), expected("weights_last")), 1e-9);
        EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer.model()), expected("buffers")), 1e-9);
        EXPECT_TRUE(expected("masks").equal(MaskSummary(trainer.model())));
        EXPECT_NEAR(record.measures.test_loss() / expected("test").item<double>(), 1, 1e-9);
        if (!TrainingOf(test).has_weight_average()) return;
        EXPECT_LT(RelativeDifference(ParametersOf(trainer.result()), expected("average")), 1e-9);
      });
  for (const Outcome& outcome : outcomes) {
    ASSERT_EQ(outcome.records.size(), static_cast<size_t>(kRecipeEpochs));
    for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch) {
      EXPECT_NEAR(outcome.records[epoch].measures.train_loss() / expected("loss")[epoch].item<double>(), 1, 1e-9);
    }
    ExpectSame(outcome, outcomes[0]);
  }
}

// All that are not functions of a rank's own share: a penalty on activations is of the images that are normalized
// together, and statistics are made anew of each share.
std::vector<RecipeCase> SynchronizedCases() {
  std::vector<RecipeCase> cases;
  for (const RecipeCase& test : RecipeCases()) {
    if (!absl::StrContains(test.name, "decov") && !absl::StrContains(test.name, "recalibrated")) cases.push_back(test);
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Cases, SynchronizedTest,
                         testing::Combine(testing::ValuesIn(SynchronizedCases()), testing::Values(2, 4)),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name, "_", std::get<1>(info.param));
                         });

at::Tensor ExpectedOfRanks(const std::string& name) {
  static const Safetensors* file = new Safetensors(*ReadSafetensors("ml/training/ranks.safetensors"));
  return file->tensors.at(name);
}

class OwnStatisticsTest : public testing::TestWithParam<std::tuple<RecipeCase, bool>> {};

TEST_P(OwnStatisticsTest, EqualsDistributedDataParallel) {
  const auto& [test, skipping] = GetParam();
  const auto expected = [name = test.name](const char* what) { return ExpectedOfRanks(absl::StrCat(name, "/", what)); };
  Options options;
  options.epochs = 3;
  options.prepare = [skipping = skipping](TrainingSetup& setup) { setup.config.set_skipping(skipping); };
  const std::vector<Outcome> outcomes = Train(test, at::kDouble, 2, options, [&](Trainer& trainer, const EpochRecord&) {
    EXPECT_LT(RelativeDifference(ParametersOf(trainer.model()), expected("weights_last")), 1e-9);
    EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer.model()), expected("buffers")), 1e-9);
    EXPECT_TRUE(expected("masks").equal(MaskSummary(trainer.model())));
  });
  for (int64_t epoch = 0; epoch < options.epochs; ++epoch) {
    EXPECT_NEAR(outcomes[1].records[epoch].measures.train_loss() / expected("loss")[epoch].item<double>(), 1, 1e-9);
  }
}

const RecipeCase kOwnStatisticsCases[] = {{"plain", ""},
                                          {"dynamic_cov", "", "DynamicL1] { rate: 0.6 }", "Cov] {}"},
                                          {"decov", "", "", "Decov] {}"},
                                          {"recalibrated", "bn_recalibration_batches: 3 "}};

INSTANTIATE_TEST_SUITE_P(Plans, OwnStatisticsTest,
                         testing::Combine(testing::ValuesIn(kOwnStatisticsCases), testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name,
                                               std::get<1>(info.param) ? "_skipping" : "_reference");
                         });

class StoppedRanksTest : public testing::TestWithParam<RecipeCase> {};

TEST_P(StoppedRanksTest, TakenUpAfterEveryStepTheyComputeTheSameBits) {
  Options options;
  const std::vector<Outcome> whole = Train(GetParam(), at::kFloat, 2, options);
  ExpectSame(whole[0], whole[1]);
  options.stopped = true;
  const std::vector<Outcome> pieces = Train(GetParam(), at::kFloat, 2, options);
  ExpectSame(pieces[0], pieces[1]);
  ExpectSame(whole[0], pieces[0]);
}

// What each kind of recipe keeps between steps, and what ranks compute of their own share alone.
INSTANTIATE_TEST_SUITE_P(Cases, StoppedRanksTest,
                         testing::Values(Case("adamw_dynamic_cov"), Case("accumulated_dynamic_decov"),
                                         Case("accumulated_gradient_average_adamw_clipped"),
                                         Case("average_masked_adamw_recalibrated"), Case("teacher_dynamic_cov_smooth")),
                         [](const auto& info) { return std::string(info.param.name); });

// Eight batches of an epoch in steps of seven: the last step has one, which is summed like others.
TEST(RanksTest, ALastBatchThatIsLeftAloneIsAStepOfAllRanks) {
  const RecipeCase test = {"", "accumulate_batches: 7 ", "DynamicL1] { rate: 0.6 period: 1 }", "Cov] {}"};
  const Outcome alone = Train(test, at::kDouble, 0, Synchronized())[0];
  for (const Outcome& together : Train(test, at::kDouble, 2, Synchronized())) {
    for (const auto& [name, tensor] : alone.state.tensors) {
      const double difference = (tensor - together.state.tensors.at(name)).to(at::kDouble).norm().item<double>();
      EXPECT_LE(difference, 1e-9 * tensor.to(at::kDouble).norm().item<double>()) << name;
    }
  }
}

// What is kept is drawn for all of a batch, of which each rank takes its rows.
TEST(RanksTest, DropoutIsThatOfOneProcess) {
  Network network;
  const NetworkInfo plain = HashedResNet(8);
  for (const Node& node : plain.network().node()) {
    Node changed = node;
    if (node.op_case() == Node::kLinear) {
      Node* drop = network.add_node();
      drop->set_name("drop");
      drop->add_input(node.input(0));
      drop->mutable_dropout()->set_probability(0.4);
      changed.set_input(0, "drop");
    }
    *network.add_node() = changed;
  }
  const NetworkInfo info = *NetworkInfo::Create(network);
  Options options = Synchronized();
  const auto prepare = options.prepare;
  options.prepare = [&](TrainingSetup& setup) {
    prepare(setup);
    setup.network = info;
  };
  const Outcome alone = Train({"", ""}, at::kDouble, 0, options)[0];
  const Outcome together = Train({"", ""}, at::kDouble, 3, options)[0];
  EXPECT_GT(alone.records[0].measures.train_loss(), 0);
  for (const auto& [name, tensor] : alone.state.tensors) {
    const double difference = (tensor - together.state.tensors.at(name)).to(at::kDouble).norm().item<double>();
    EXPECT_LE(difference, 1e-9 * tensor.to(at::kDouble).norm().item<double>()) << name;
  }
}

// Ranges of activations are averaged as running statistics are.
TEST(RanksTest, QuantizationIsTheSameOnAllRanks) {
  Options options;
  options.prepare = [](TrainingSetup& setup) { setup.config.mutable_quantization()->set_range_momentum(0.1); };
  const std::vector<Outcome> outcomes = Train({"", ""}, at::kFloat, 3, options);
  ExpectSame(outcomes[0], outcomes[1]);
  ExpectSame(outcomes[0], outcomes[2]);
  for (const auto& [name, tensor] : outcomes[0].state.tensors)
    EXPECT_TRUE(at::isfinite(tensor).all().item<bool>()) << name;
}

TEST(RanksTest, OneTwoAndFourRanksAgreeAfterTwentyFourSteps) {
  const RecipeCase test = Case("clipped_dynamic_cov");
  Options options = Synchronized();
  options.epochs = 3;
  const Outcome alone = Train(test, at::kDouble, 0, options)[0];
  for (const int64_t ranks : {1, 2, 4}) {
    const Outcome together = Train(test, at::kDouble, ranks, options)[0];
    ASSERT_EQ(together.state.tensors.size(), alone.state.tensors.size());
    for (const auto& [name, tensor] : alone.state.tensors) {
      const double difference = (tensor - together.state.tensors.at(name)).to(at::kDouble).norm().item<double>();
      EXPECT_LE(difference, 1e-9 * tensor.to(at::kDouble).norm().item<double>()) << name << ", " << ranks << " ranks";
    }
  }
}

// The shares' number changes the sums' rounding, and nothing else: a run may be resumed by another number.
TEST(RanksTest, AnotherNumberOfRanksGoesOn) {
  const RecipeCase test = Case("adamw_dynamic_cov");
  const std::vector<Outcome> alone = Train(test, at::kDouble, 0);
  Options options = Synchronized();
  options.epochs = 1;
  const std::vector<Outcome> first = Train(test, at::kDouble, 2, options);
  const auto finish = [&](Ranks* ranks) {
    TrainingSetup setup = SetupOf(test, at::kDouble);
    setup.config.set_synchronized_batch_norm(true);
    setup.ranks = ranks;
    const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
    ASSERT_TRUE(trainer->LoadState(first[1].state, "state").ok());
    const EpochRecord record = *trainer->RunEpoch();
    EXPECT_NEAR(record.measures.train_loss() / alone[0].records[1].measures.train_loss(), 1, 1e-9);
    EXPECT_NEAR(record.measures.test_loss() / alone[0].records[1].measures.test_loss(), 1, 1e-9);
  };
  finish(nullptr);
  OnRanks(3, [&](Ranks& ranks) { finish(&ranks); });
}

TEST(RanksTest, ALossThatIsNotFiniteOnOneRankEndsTheEpochOnAll) {
  Options options;
  options.epochs = 1;
  options.prepare = [](TrainingSetup& setup) { setup.config.mutable_sgd()->set_learning_rate(1e30); };
  const std::vector<Outcome> outcomes = Train({"", ""}, at::kFloat, 2, options);
  for (const Outcome& outcome : outcomes) {
    ASSERT_EQ(outcome.records.size(), 1u);
    EXPECT_TRUE(outcome.records[0].diverged);
    EXPECT_EQ(outcome.records[0].divergence, outcomes[0].records[0].divergence);
  }
}

// As a machine would that computes wrongly.
TEST(RanksTest, WeightsThatDifferAreAnErrorThatNamesThem) {
  for (const bool in_weights : {true, false}) {
    std::mutex mutex;
    std::vector<std::string> errors;
    OnRanks(3, [&](Ranks& ranks) {
      TrainingSetup setup = SetupOf({"", ""}, at::kFloat);
      setup.ranks = &ranks;
      std::unique_ptr<Trainer> trainer;
      setup.on_step = [&](const StepProgress& step) {
        if (ranks.rank() != 2 || step.iteration != 7) return;
        at::Tensor number = in_weights ? trainer->model().Get("layer2.0.conv1.weight").detach()[5][3][1][1]
                                       : trainer->model().Get("bn1.running_var").detach()[3];
        number.mul_(1.0000002f);
      };
      trainer = *Trainer::Create(std::move(setup));
      const absl::Status status = trainer->RunEpoch().status();
      const std::lock_guard<std::mutex> lock(mutex);
      errors.push_back(std::string(status.message()));
    });
    ASSERT_EQ(errors.size(), 3u);
    for (const std::string& error : errors) {
      EXPECT_TRUE(absl::StartsWith(error, in_weights
                                              ? "after epoch 0, layer2.0.conv1.weight of rank 2 is not that of rank 0"
                                              : "after epoch 0, bn1.running_var of rank 2 is not that of rank 0"))
          << error;
    }
  }
}

TEST(RanksTest, WhatRanksCannotTrainIsRefused) {
  const auto refusal = [](const std::string& training, int64_t images, int64_t ranks) {
    Training config;
    EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(training, &config));
    const absl::Status status = CheckRanks(config, HashedResNet(8), images, ranks);
    return status.ok() ? "" : absl::StrCat(ErrorField(status), ": ", ErrorText(status));
  };
  EXPECT_EQ(refusal("batch_size: 6", 46, 1), "");
  EXPECT_EQ(refusal("batch_size: 6", 46, 4), "");
  EXPECT_EQ(refusal("batch_size: 6", 46, 5),
            "batch_size: is 6, which makes batches of down to 4 of 46 training images; 5 ranks need at least 5; use a "
            "batch_size of 8, or fewer ranks");
  EXPECT_EQ(
      refusal("batch_size: 46", 46, 64),
      "batch_size: is 46, which makes batches of down to 46 of 46 training images; 64 ranks need at least 64, or fewer "
      "ranks");
  EXPECT_EQ(refusal("batch_size: 6 synchronized_batch_norm: true precision: BFLOAT16", 46, 2),
            "synchronized_batch_norm: is not there in bfloat16; use FLOAT32, or leave it out");
  EXPECT_EQ(refusal("batch_size: 6 synchronized_batch_norm: true quantization {}", 46, 2),
            "synchronized_batch_norm: is not there with quantization; leave one of them out");
}

}  // namespace
}  // namespace prunelab
