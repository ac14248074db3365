// Compares training steps with PyTorch's. tools/reference/training_parity.py made parity.safetensors and says what it
// contains. Weights, images and labels follow from integer hashes that both sides compute.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "ml/execution/skipping_plan.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/testing/hashed_training.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

constexpr int64_t kEpochs = 3, kSteps = 24;

struct Case {
  const char* name;
  int depth;
  double learning_rate;
  const char* pruning;      // "" is NoPruning; the type's prefix is left out
  const char* regularizer;  // "" is none, else at weight 0.7
};

constexpr char kDynamic[] = "DynamicL1] { rate: 0.6 }";
constexpr char kUnstructured[] = "Unstructured] { rate: 0.9 gradient: STRAIGHT_THROUGH }";
constexpr char kMasked[] = "Unstructured] { rate: 0.9 }";

const Case kCases[] = {
    {"resnet20_dense", 20, 0.05, "", ""},
    {"resnet20_dynamic", 20, 0.05, kDynamic, ""},
    {"resnet20_dynamic_l2", 20, 0.05, "DynamicL1] { rate: 0.6 importance: L2 }", ""},
    {"resnet20_dynamic_gradient", 20, 0.05, "DynamicL1] { rate: 0.6 importance: GRADIENT }", ""},
    {"resnet20_dynamic_weight_times_gradient", 20, 0.05, "DynamicL1] { rate: 0.6 importance: WEIGHT_TIMES_GRADIENT }",
     ""},
    {"resnet20_dynamic_weights", 20, 0.05,
     "DynamicL1] { rate: 0.6 importance: WEIGHT_TIMES_GRADIENT granularity: WEIGHT }", ""},
    {"resnet20_static", 20, 0.05, "Static] { rate: 0.6 epoch: 1 }", ""},
    {"resnet20_unstructured", 20, 0.05, kUnstructured, ""},
    {"resnet20_unstructured_masked", 20, 0.05, kMasked, ""},
    {"resnet20_cov", 20, 0.05, "", "Cov] {}"},
    {"resnet20_squared_correlation", 20, 0.05, "", "SquaredCorrelation] {}"},
    {"resnet20_kernel_cov", 20, 0.05, "", "KernelCov] { scale: MEAN }"},
    {"resnet20_dynamic_cov", 20, 0.05, kDynamic, "Cov] {}"},
    {"resnet20_unstructured_cov", 20, 0.05, kMasked, "Cov] {}"},
    {"resnet56_dense", 56, 0.01, "", ""},
    {"resnet56_dynamic", 56, 0.01, kDynamic, ""},
    {"resnet56_unstructured", 56, 0.01, kUnstructured, ""},
};

TrainingSetup CaseSetup(const Case& test, const Dataset& data, at::ScalarType dtype) {
  TrainingSetup setup;
  setup.network = HashedResNet(test.depth);
  setup.dataset = &data;
  setup.config.set_epochs(kEpochs);
  setup.config.set_batch_size(kHashedBatch);
  setup.config.set_evaluate_every(kEpochs);
  setup.config.mutable_sgd()->set_learning_rate(test.learning_rate);
  setup.config.mutable_sgd()->set_momentum(0.9);
  setup.config.mutable_sgd()->set_weight_decay(1e-3);
  setup.seed = kHashedSeed;
  setup.dtype = dtype;
  const std::string pruning = test.pruning[0] ? test.pruning : "NoPruning] {}";
  setup.strategy = *CreatePruningStrategy(PluginOf(pruning), {&setup.network, setup.seed});
  const std::string regularizer = test.regularizer[0] ? test.regularizer : "NoRegularizer] {}";
  setup.regularizer = *CreateRegularizer(PluginOf(regularizer), setup.network);
  setup.penalty_weight = test.regularizer[0] ? 0.7 : 0;
  return setup;
}

const Safetensors& Reference() {
  static const Safetensors* file = [] {
    absl::StatusOr<Safetensors> read = ReadSafetensors("ml/training/parity.safetensors");
    EXPECT_TRUE(read.ok()) << read.status();
    return new Safetensors(*std::move(read));
  }();
  return *file;
}

at::Tensor Expected(const Case& test, const char* what) {
  return Reference().tensors.at(absl::StrCat(test.name, "/", what));
}

// Each case by the reference plan and by the one that skips.
class ParityTest : public testing::TestWithParam<std::tuple<Case, bool>> {};

TEST_P(ParityTest, Float64) {
  const auto& [test, skipping] = GetParam();
  const Dataset data = HashedData();
  TrainingSetup setup = CaseSetup(test, data, at::kDouble);
  setup.config.set_skipping(skipping);

  // Logits and gradients at the start.
  Model model = Model::Create(setup.network, at::kDouble, at::kCPU);
  InitializeByHash(model);
  TrainingBatches batches(data.train, data.normalization, {}, kHashedBatch, setup.seed, at::kDouble, at::kCPU);
  const Batch batch = *batches.Get(0, 0);
  const std::unique_ptr<Plan> owned_plan =
      skipping ? std::unique_ptr<Plan>(new SkippingPlan()) : std::unique_ptr<Plan>(new ReferencePlan());
  Plan& plan = *owned_plan;
  const at::Tensor logits_eval = plan.Forward(model, batch.images, {}).logits;
  EXPECT_LT((logits_eval - Expected(test, "logits_eval")).abs().max().item<double>(), 1e-9);
  if (Expected(test, "masks").select(0, 0).equal(MaskSummary(model))) {  // else masks are set before the first step
    ForwardOptions train;
    train.mode = Mode::kTrain;
    const at::Tensor logits = plan.Forward(model, batch.images, train).logits;
    EXPECT_LT((logits - Expected(test, "logits_train")).abs().max().item<double>(), 1e-9);
    const at::Tensor loss = at::cross_entropy_loss(logits, batch.labels);
    const std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, ParametersOf(model));
    EXPECT_LT(RelativeDifference(gradients, Expected(test, "gradient")), 1e-9);
  }

  // The loop. Losses are sums over the epoch so far, so their differences are compared.
  Trainer* trainer = nullptr;
  const at::Tensor masks = Expected(test, "masks");
  int64_t step = 0;
  setup.on_step = [&](const StepProgress&) {
    EXPECT_TRUE(masks[step].equal(MaskSummary(trainer->model()))) << "masks differ at step " << step;
    ++step;
    for (const int64_t checked : {1, 10}) {
      if (step != checked) continue;
      EXPECT_LT(
          RelativeDifference(ParametersOf(trainer->model()), Expected(test, absl::StrCat("weights_", step).c_str())),
          1e-9);
      EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer->model()),
                                   Expected(test, absl::StrCat("buffers_", step).c_str())),
                1e-9);
    }
  };
  const std::unique_ptr<Trainer> owned = *Trainer::Create(std::move(setup));
  trainer = owned.get();
  InitializeByHash(trainer->model());
  const at::Tensor losses = Expected(test, "loss"), growth = Expected(test, "growth");
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
    ASSERT_TRUE(record.ok()) << record.status();
    double sum = 0, bound = 1e-9;
    for (int64_t i = 0; i < 8; ++i) {
      const int64_t images = i == 7 ? kHashedImages - 7 * kHashedBatch : kHashedBatch;
      sum += static_cast<double>(images) * losses[8 * epoch + i].item<double>();
      // If rounding alone changes the loss by more than a tenth of the bound, ten times as much is allowed: the dense
      // and the unstructured ResNet-56 in their last epoch (4e-9 and 8e-8).
      bound = std::max(bound, 10 * growth[8 * epoch + i].item<double>());
    }
    EXPECT_NEAR(record->measures.train_loss() / (sum / kHashedImages), 1, bound) << "epoch " << epoch;
  }
  EXPECT_EQ(step, kSteps);
}

TEST_P(ParityTest, Float32AfterOneStep) {
  const auto& [test, skipping] = GetParam();
  const Dataset data = HashedData();
  TrainingSetup setup = CaseSetup(test, data, at::kFloat);
  setup.config.set_skipping(skipping);
  bool stopped = false;
  setup.stop = [&] { return stopped = true; };
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  InitializeByHash(trainer->model());
  EXPECT_TRUE(absl::IsCancelled(trainer->RunEpoch().status()));
  EXPECT_LT(RelativeDifference(ParametersOf(trainer->model()), Expected(test, "weights_1")), 1e-4);
  EXPECT_LT(RelativeDifference(RunningStatisticsOf(trainer->model()), Expected(test, "buffers_1")), 1e-4);
}

INSTANTIATE_TEST_SUITE_P(Cases, ParityTest, testing::Combine(testing::ValuesIn(kCases), testing::Bool()),
                         [](const auto& info) {
                           return absl::StrCat(std::get<0>(info.param).name,
                                               std::get<1>(info.param) ? "_skipping" : "_reference");
                         });

// Compares the paper's masks in float32 with those from float64 arithmetic: they must be the same, except within
// rounding of the threshold.
TEST(MaskParityTest, Float32MasksAreThoseOfFloat64AwayFromTheThreshold) {
  for (const char* strategy :
       {"DynamicL1] { rate: 0.6 period: 1 }", "DynamicL1] { rate: 0.6 period: 1 importance: L2 }", kMasked}) {
    const bool filters = absl::StrContains(strategy, "DynamicL1");
    const bool squared = absl::StrContains(strategy, "L2");
    const NetworkInfo network = HashedResNet(56);
    Model model = Model::Create(network, at::kFloat, at::kCPU);
    InitializeByHash(model);
    std::vector<PrunableLayer> layers;
    std::vector<at::Tensor> importances, flat;
    for (const ConvInfo& conv : network.convs()) {
      const at::Tensor weight = model.Get(absl::StrCat(conv.node, ".weight")).detach();
      layers.push_back({conv.node, weight, at::ones({weight.size(0), 1, 1, 1}), {}});
      at::Tensor importance = weight.to(at::kDouble);
      importance = squared ? importance.square() : importance.abs();
      if (filters) importance = importance.mean({1, 2, 3}, true);
      importances.push_back(importance);
      flat.push_back(importance.flatten());
    }
    const at::Tensor sorted = std::get<0>(at::cat(flat).sort());
    const double rate = filters ? 0.6 : 0.9;
    const double threshold = sorted[static_cast<int64_t>(static_cast<double>(sorted.numel()) * rate)].item<double>();
    const auto update = (*CreatePruningStrategy(PluginOf(strategy), {&network, 1}))->Update({0, 0, 8, 1}, layers);
    ASSERT_TRUE(update.ok() && update->has_value()) << strategy;
    int64_t compared = 0, equal = 0;
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor certain = (importances[i] - threshold).abs() > 1e-5 * threshold;
      const at::Tensor same = (*update)->masks.at(layers[i].node).to(at::kBool) == (importances[i] > threshold);
      compared += certain.sum().item<int64_t>();
      equal += at::logical_and(certain, same).sum().item<int64_t>();
    }
    EXPECT_EQ(equal, compared) << strategy;
    EXPECT_GT(compared, sorted.numel() * 99 / 100);
  }
}

}  // namespace
}  // namespace prunelab
