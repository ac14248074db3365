// Trainings with what a config may add to plain SGD, each beside PyTorch's: tools/reference/recipes_values.py made
// recipes.safetensors and says what it contains. And each stopped after every step, in the steps' other precision, and
// with masked weights that must stay zero.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "ml/base/field_error.h"
#include "ml/kernels/instruction_set.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/adamw.h"
#include "ml/training/averaged_network.h"
#include "ml/training/clip_gradients.h"
#include "ml/training/testing/hashed_training.h"
#include "ml/training/testing/recipe_cases.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

// Each case by the reference plan and by the one that skips.
class RecipesTest : public testing::TestWithParam<std::tuple<RecipeCase, bool>> {};

TEST_P(RecipesTest, EqualsPyTorch) {
  const auto& [test, skipping] = GetParam();
  const auto expected = [&, name = test.name](const char* what) {
    return ExpectedOfRecipe(absl::StrCat(name, "/", what));
  };
  TrainingSetup setup = SetupOf(test, at::kDouble);
  setup.config.set_skipping(skipping);
  Trainer* trainer = nullptr;
  int64_t steps = 0;
  setup.on_step = [&](const StepProgress&) {
    if (++steps > 1) return;
    EXPECT_LT(RelativeDifference(ParametersOf(trainer->model()), expected("weights_1")), 1e-9);
  };
  const std::unique_ptr<Trainer> owned = *Trainer::Create(std::move(setup));
  trainer = owned.get();
  InitializeByHash(trainer->model());
  EpochRecord record;
  for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch) {
    record = *trainer->RunEpoch();
    EXPECT_NEAR(record.measures.train_loss() / expected("loss")[epoch].item<double>(), 1, 1e-9) << epoch;
  }
  EXPECT_EQ(steps, kRecipeEpochs * trainer->iterations_per_epoch());
  EXPECT_LT(expected("growth").item<double>(), 1e-12) << "rounding alone would show";
  EXPECT_LT(RelativeDifference(ParametersOf(trainer->model()), expected("weights_last")), 1e-9);
  EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer->model()), expected("buffers")), 1e-9);
  EXPECT_TRUE(expected("masks").equal(MaskSummary(trainer->model())));
  EXPECT_NEAR(record.measures.test_loss() / expected("test").item<double>(), 1, 1e-9);
  if (!TrainingOf(test).has_weight_average()) return;
  EXPECT_LT(RelativeDifference(ParametersOf(trainer->result()), expected("average")), 1e-9);
  EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer->result()), expected("average_buffers")), 1e-9);
}

INSTANTIATE_TEST_SUITE_P(Cases, RecipesTest, testing::Combine(testing::ValuesIn(RecipeCases()), testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name,
                                               std::get<1>(info.param) ? "_skipping" : "_reference");
                         });

// Records and final state of a training in float32.
struct Outcome {
  std::vector<EpochRecord> records;
  Safetensors state;
};

// Where `stopped`, it is stopped after every step, and each time taken up by another trainer from the saved bytes.
Outcome TrainedOutcome(const RecipeCase& test, bool stopped) {
  const auto create = [&] {
    TrainingSetup setup = SetupOf(test, at::kFloat);
    if (stopped) setup.stop = [] { return true; };
    return *Trainer::Create(std::move(setup));
  };
  Outcome outcome;
  std::unique_ptr<Trainer> trainer = create();
  while (trainer->epoch() < kRecipeEpochs) {
    absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
    if (record.ok()) {
      outcome.records.push_back(*std::move(record));
      continue;
    }
    EXPECT_TRUE(stopped && absl::IsCancelled(record.status())) << record.status();
    const absl::StatusOr<Safetensors> saved = ParseSafetensors(SerializeSafetensors(trainer->SaveState()), "state");
    EXPECT_TRUE(saved.ok()) << saved.status();
    trainer = create();
    const absl::Status loaded = trainer->LoadState(*saved, "state");
    EXPECT_TRUE(loaded.ok()) << loaded;
    if (!loaded.ok()) break;
  }
  outcome.state = trainer->SaveState();
  return outcome;
}

class StoppedRecipesTest : public testing::TestWithParam<RecipeCase> {};

TEST_P(StoppedRecipesTest, TakenUpAfterEveryStepItComputesTheSameBits) {
  const Outcome whole = TrainedOutcome(GetParam(), false), pieces = TrainedOutcome(GetParam(), true);
  ASSERT_EQ(whole.records.size(), static_cast<size_t>(kRecipeEpochs));
  ASSERT_EQ(pieces.records.size(), whole.records.size());
  for (size_t i = 0; i < whole.records.size(); ++i) {
    const Measures &a = whole.records[i].measures, &b = pieces.records[i].measures;
    EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equivalent(a, b)) << a.DebugString() << b.DebugString();
  }
  ASSERT_EQ(pieces.state.tensors.size(), whole.state.tensors.size());
  for (const auto& [name, tensor] : whole.state.tensors) {
    EXPECT_TRUE(at::equal(tensor, pieces.state.tensors.at(name))) << name;
  }
}

TEST_P(StoppedRecipesTest, StepsInBfloat16LearnAsMuch) {
  if (!HasBfloat16()) GTEST_SKIP() << "this machine has no bfloat16";
  std::vector<double> losses;
  for (const Training::Precision precision : {Training::FLOAT32, Training::BFLOAT16}) {
    TrainingSetup setup = SetupOf(GetParam(), at::kFloat);
    setup.config.set_precision(precision);
    const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
    InitializeByHash(trainer->model());
    for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch)
      losses.push_back(trainer->RunEpoch()->measures.train_loss());
  }
  EXPECT_NEAR(losses[2], losses[0], 0.1 * losses[0]);
  EXPECT_NEAR(losses[3], losses[1], 0.2 * losses[1]);
  EXPECT_NE(losses[2], losses[0]);
}

// Taylor's masks zero weights and moments, and their weights learn nothing after that.
TEST_P(StoppedRecipesTest, WhatAStrategyZeroesStaysZero) {
  RecipeCase test = GetParam();
  test.pruning = "Taylor] { rate: 0.4 period: 2 filters_per_update: 4 }";
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(SetupOf(test, at::kFloat));
  for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch) ASSERT_TRUE(trainer->RunEpoch().ok());
  double masked = 0;
  for (const auto& [node, mask] : trainer->model().masks()) {
    const at::Tensor weight = trainer->model().Get(absl::StrCat(node, ".weight")).detach();
    EXPECT_EQ((weight * (1 - mask)).abs().max().item<double>(), 0) << node;
    masked += (1 - mask).sum().item<double>();
  }
  EXPECT_GT(masked, 4);
}

INSTANTIATE_TEST_SUITE_P(Cases, StoppedRecipesTest, testing::ValuesIn(RecipeCases()),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(AdamWTest, EqualsTorchOptimAdamW) {
  // One of the tensors has another memory format than its gradients.
  const std::vector<NamedTensor> parameters = {
      {"a", "a", ExpectedOfRecipe("adamw_steps/a_0").clone().contiguous(at::MemoryFormat::ChannelsLast)},
      {"b", "b", ExpectedOfRecipe("adamw_steps/b_0").clone()}};
  AdamWOptions options;
  options.beta2 = 0.99;
  options.weight_decay = 0.3;
  AdamWOptimizer optimizer(parameters, options);
  const at::Tensor rates = ExpectedOfRecipe("adamw_steps/rates");
  for (int64_t step = 0; step < rates.size(0); ++step) {
    EXPECT_EQ(optimizer.steps(), step);
    std::vector<at::Tensor> gradients;
    for (size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& tensor = parameters[i].tensor;
      gradients.push_back(
          HashedNumbers(tensor.numel(), static_cast<uint32_t>(3001 + 10 * step + i)).view(tensor.sizes()));
    }
    optimizer.set_learning_rate(rates[step].item<double>());
    optimizer.Step(gradients);
    for (const NamedTensor& parameter : parameters) {
      const at::Tensor expected = ExpectedOfRecipe(absl::StrCat("adamw_steps/", parameter.name, "_", step + 1));
      EXPECT_LT((parameter.tensor - expected).abs().max().item<double>(), 1e-14) << parameter.name << step;
    }
  }
}

// Weights that are zero, with moments that are zero or whose second one is left, stay zero without a gradient.
TEST(AdamWTest, ZeroStaysZeroWithoutAGradient) {
  for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
    const at::Tensor weight = at::tensor({0.0, 0.0, 1.0}, dtype);
    AdamWOptions options;
    options.epsilon = 1e-30;
    AdamWOptimizer optimizer({{"w", "w", weight}}, options);
    optimizer.set_learning_rate(0.1);
    optimizer.moments()[1][0][1] = 0.25;
    for (int step = 0; step < 5; ++step) optimizer.Step({at::tensor({-0.0, 0.0, 1.0}, dtype)});
    EXPECT_EQ(weight[0].item<double>(), 0);
    EXPECT_EQ(weight[1].item<double>(), 0);
    EXPECT_LT(weight[2].item<double>(), 0.6);
  }
}

TEST(ClipGradientsTest, ALongerGradientIsShortenedAndAShorterOneIsNot) {
  const std::vector<at::Tensor> gradients = {at::tensor({3.0, 0.0}, at::kDouble), at::tensor({-4.0}, at::kDouble)};
  const std::vector<at::Tensor> clipped = ClippedToNorm(gradients, 1);
  EXPECT_NEAR(clipped[0][0].item<double>(), 3 / (5 + 1e-6), 1e-15);
  EXPECT_NEAR(clipped[1][0].item<double>(), -4 / (5 + 1e-6), 1e-15);
  EXPECT_EQ(gradients[0][0].item<double>(), 3) << "what a strategy reads is not changed";
  for (size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(ClippedToNorm(gradients, 5.1)[i], gradients[i]));
  const std::vector<at::Tensor> lost = ClippedToNorm({at::tensor({NAN}, at::kDouble), gradients[1]}, 1);
  EXPECT_TRUE(std::isnan(lost[1][0].item<double>()));
}

TEST(DistillationTest, ANetworkLearnsWhatItsTeacherSaysAndTheTeacherNothing) {
  TrainingSetup setup = SetupOf({"", "teacher { checkpoint: 'x' weight: 1 } "}, at::kFloat);
  const Model teacher = *setup.teacher;
  const std::vector<at::Tensor> before = RunningStatisticsOf(teacher);
  std::vector<at::Tensor> copies;
  for (const at::Tensor& tensor : before) copies.push_back(tensor.clone());
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  const double first = trainer->RunEpoch()->measures.train_loss();
  EXPECT_LT(trainer->RunEpoch()->measures.train_loss(), first);
  for (size_t i = 0; i < before.size(); ++i) EXPECT_TRUE(at::equal(before[i], copies[i]));
  for (const at::Tensor& parameter : ParametersOf(teacher)) EXPECT_FALSE(parameter.grad().defined());
}

// Small networks that a teacher may be.
NetworkInfo Linear(int64_t channels, int64_t size, int64_t classes, const std::string& before = "") {
  Network network;
  const std::string text = absl::StrCat(
      "node { name: 'x' image { channels: ", channels, " height: ", size, " width: ", size, " } } ", before,
      "node { name: 'p' input: 'x' global_average_pool {} } node { name: 'f' input: 'p' flatten {} } ",
      "node { name: 'fc' input: 'f' linear { out_features: ", classes, before.empty() ? "" : " weight_bits: 8", " } }");
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network)) << text;
  return *NetworkInfo::Create(network);
}

TEST(DistillationTest, ATeacherForAnotherNetworkIsRefused) {
  const auto refusal = [](const NetworkInfo& teacher) {
    TrainingSetup setup = SetupOf({"", "teacher { checkpoint: 't.safetensors' } "}, at::kFloat);
    setup.teacher = Model::Create(teacher, at::kFloat, at::kCPU);
    const absl::Status status = Trainer::Create(std::move(setup)).status();
    EXPECT_EQ(ErrorField(status), status.ok() ? "" : "training.teacher.checkpoint");
    return status.ok() ? "" : ErrorText(status);
  };
  EXPECT_EQ(refusal(Linear(3, 16, 10)), "");
  EXPECT_EQ(refusal(Linear(3, 16, 4)),
            "t.safetensors: its network has 4 classes, but the network that learns has 10; "
            "give a teacher for the same classes");
  EXPECT_EQ(refusal(Linear(1, 8, 10)),
            "t.safetensors: its network takes images of 1x8x8, but the network that learns takes 3x16x16 (channels, "
            "height, width); give a teacher for the same images");
  EXPECT_EQ(refusal(Linear(3, 16, 10, " ")),
            "t.safetensors: its network is quantized; give the network from which //tools:quantize made it");
}

TEST(WeightAverageTest, MaskedWeightsAreZeroInItAndReturnWithTheirAverage) {
  const NetworkInfo info = Linear(1, 4, 2, "node { name: 'c' input: 'x' conv2d { out_channels: 2 } } ");
  Model model = Model::Create(info, at::kDouble, at::kCPU);
  const at::Tensor weight = model.Get("c.weight").detach();
  const auto set = [&](double first, double second) {
    weight[0].fill_(first);
    weight[1].fill_(second);
  };
  set(1, 2);
  AveragedNetwork average(model, 0.75);
  const auto averages = [&] {
    average.Update();
    const at::Tensor now = average.network().Get("c.weight").detach();
    return std::vector<double>{now[0].mean().item<double>(), now[1].mean().item<double>()};
  };
  EXPECT_EQ(averages(), (std::vector<double>{1, 2})) << "before the first step the model's";
  set(4, 8);
  average.AddStep();
  EXPECT_EQ(averages(), (std::vector<double>{4, 8})) << "after it the same";
  set(8, 0);
  model.SetMasks({{"c", at::tensor({1.0, 0.0}, at::kDouble).view({2, 1, 1, 1})}});
  average.AddStep();
  EXPECT_EQ(averages(), (std::vector<double>{5, 0}));
  EXPECT_EQ(average.network().masks().at("c").sum().item<double>(), 1);
  model.SetMasks({{"c", at::ones({2, 1, 1, 1}, at::kDouble)}});
  average.AddStep();
  EXPECT_EQ(averages(), (std::vector<double>{5.75, 4.5}));
  EXPECT_FALSE(average.network().Get("c.weight").is_same(model.Get("c.weight")));
}

TEST(WeightAverageTest, RecalibrationLeavesTheTrainedNetworksStatistics) {
  const auto trained = [](const char* training) {
    std::unique_ptr<Trainer> trainer = *Trainer::Create(SetupOf({"", training}, at::kFloat));
    for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch) EXPECT_TRUE(trainer->RunEpoch().ok());
    return trainer;
  };
  const auto plain = trained(""), averaged = trained("weight_average { decay: 0.8 } bn_recalibration_batches: 3 ");
  const std::vector<at::Tensor> a = RunningStatisticsOf(plain->model()), b = RunningStatisticsOf(averaged->model()),
                                c = RunningStatisticsOf(averaged->result());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_TRUE(at::equal(a[i], b[i]));
    EXPECT_FALSE(at::equal(b[i], c[i]));
  }
}

// Without BatchNorm, several batches are one of as many images, also where the last ones are fewer and smaller.
TEST(AccumulationTest, EqualsALargerBatchWithoutBatchNorm) {
  const auto trained = [](int64_t batch_size, int64_t accumulated) {
    TrainingSetup setup = SetupOf({"", ""}, at::kDouble);
    setup.network = Linear(3, 16, 10);
    setup.regularizer = *CreateRegularizer(PluginOf("NoRegularizer] {}"), setup.network);
    setup.config.set_batch_size(batch_size);
    setup.config.set_accumulate_batches(accumulated);
    std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
    for (int64_t epoch = 0; epoch < kRecipeEpochs; ++epoch) EXPECT_TRUE(trainer->RunEpoch().ok());
    return trainer;
  };
  const auto larger = trained(18, 1);
  EXPECT_EQ(larger->iterations_per_epoch(), 3);
  for (const int64_t parts : {2, 3, 6}) {
    const auto accumulated = trained(18 / parts, parts);
    EXPECT_EQ(accumulated->iterations_per_epoch(), 3);
    const std::vector<at::Tensor> a = ParametersOf(larger->model()), b = ParametersOf(accumulated->model());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 1e-14) << parts;
  }
  // More than an epoch has: one step an epoch.
  EXPECT_EQ(trained(kHashedBatch, 100)->iterations_per_epoch(), 1);
}

}  // namespace
}  // namespace prunelab
