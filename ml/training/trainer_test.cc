#include "ml/training/trainer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/message_differencer.h"
#include "ml/base/field_error.h"
#include "ml/base/random.h"
#include "ml/data/validation_split.h"
#include "ml/execution/checkpoint.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

NetworkInfo SmallNetwork() {
  NetworkWriter net;
  net.Image(1, 6, 6);
  net.Conv("conv", "image", {4});
  net.BatchNorm("bn", "conv");
  net.Relu("relu", "bn");
  net.GlobalAveragePool("pool", "relu");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return *NetworkInfo::Create(net.Take());
}

Dataset SmallData() {
  Dataset data;
  data.info = {3, 1, 6, 6, 10, 7};
  const auto images = [](int64_t n) { return (at::arange(n * 36) * 37 % 251).to(at::kByte).view({n, 1, 6, 6}); };
  data.train = {images(10), at::arange(10) % 3};
  data.test = {images(7), at::arange(7) % 3};
  data.normalization.mean = {0.5};
  data.normalization.stddev = {0.25};
  return data;
}

// Prunes filter 1 before a given step, then filter 2 instead: so 1 returns. Remembers what it was shown.
class ScriptedStrategy : public PruningStrategy {
 public:
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kStraightThrough; }
  bool needs_gradients() const override { return true; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    shown_gradient.push_back(layers[0].gradient.defined());
    MaskUpdate update;
    update.weights = weights;
    update.momentum = momentum;
    at::Tensor mask = at::ones({4, 1, 1, 1}, layers[0].weight.options());
    if (position.step() == 1) {
      mask[1].zero_();
    } else if (position.step() == 2) {
      mask[2].zero_();
    } else {
      return std::optional<MaskUpdate>();
    }
    update.masks["conv"] = mask;
    return std::optional<MaskUpdate>(update);
  }
  DeadGradient dead_gradient() const override { return dead; }
  MaskUpdate::Weights weights = MaskUpdate::Weights::kKeep;
  MaskUpdate::Momentum momentum = MaskUpdate::Momentum::kKeep;
  DeadGradient dead;
  std::vector<bool> shown_gradient;
};

// As soft filter pruning: masks and zeroes filter 1 at the end of each epoch, frees it at the next one's start. Its
// gradient policy is masked though it reads gradients; what Observe saw is remembered.
class EpochEndStrategy : public PruningStrategy {
 public:
  explicit EpochEndStrategy(bool needs_gradients = true, bool frees = true)
      : needs_gradients_(needs_gradients), frees_(frees) {}
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  bool needs_gradients() const override { return needs_gradients_; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (position.iteration != 0 || position.epoch == 0 || !frees_) return std::optional<MaskUpdate>();
    MaskUpdate update;
    update.masks["conv"] = at::ones({4, 1, 1, 1}, layers[0].weight.options());
    return std::optional<MaskUpdate>(update);
  }
  void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) override {
    observed.push_back(layers[0].gradient);
  }
  absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                     const std::vector<PrunableLayer>& layers) override {
    ends.push_back(position.step());
    MaskUpdate update;
    update.masks["conv"] = at::ones({4, 1, 1, 1}, layers[0].weight.options());
    update.masks["conv"][1].zero_();
    update.weights = MaskUpdate::Weights::kZeroMasked;
    return std::optional<MaskUpdate>(update);
  }
  std::vector<at::Tensor> observed;
  std::vector<int64_t> ends;

 private:
  const bool needs_gradients_, frees_;
};

// weight decay's penalty: sum of squares of the conv weight, gradient 2 w.
class SquaresRegularizer : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    for (const RegularizedLayer& layer : layers) {
      if (layer.kind == RegularizedLayer::Kind::kConv) return layer.weight.square().sum();
    }
    return {};
  }
};

// The same beside a term on activations: the mean square of what the ReLU gives.
class SquaresOfActivationsToo : public SquaresRegularizer {
 public:
  std::set<std::string> activation_nodes() const override { return {"relu"}; }
  at::Tensor ActivationValue(const std::map<std::string, at::Tensor>& activations) const override {
    EXPECT_EQ(activations.size(), 1u);
    return activations.at("relu").square().mean();
  }
};

// Masks nothing; whether it asks for the loss's gradients, and the last that it was shown.
class WatchingStrategy : public PruningStrategy {
 public:
  explicit WatchingStrategy(bool asks) : asks_(asks) {}
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kStraightThrough; }
  bool needs_gradients() const override { return asks_; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    seen = layers[0].gradient;
    return std::optional<MaskUpdate>();
  }
  at::Tensor seen;

 private:
  bool asks_;
};

// Remembers the batch norm of the first step of epoch 1.
class BatchNormStrategy : public WatchingStrategy {
 public:
  BatchNormStrategy() : WatchingStrategy(true) {}
  bool needs_batch_norms() const override { return true; }
  void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) override {
    ASSERT_TRUE(layers[0].batch_norm.has_value());
    const PrunableBatchNorm& of = *layers[0].batch_norm;
    if (position.epoch == 1 && position.iteration == 0)
      first = {of.scale.clone(), of.shift.clone(), of.scale_gradient.clone(), of.shift_gradient.clone()};
  }
  std::optional<PrunableBatchNorm> first;
};

TrainingSetup SmallSetup(const Dataset& data, std::unique_ptr<PruningStrategy> strategy, double penalty_weight) {
  TrainingSetup setup;
  setup.network = SmallNetwork();
  setup.dataset = &data;
  setup.config.set_epochs(2);
  setup.config.set_batch_size(4);
  setup.config.mutable_sgd()->set_learning_rate(0.1);
  setup.config.mutable_sgd()->set_momentum(0.9);
  setup.config.mutable_sgd()->set_weight_decay(0.01);
  setup.strategy = std::move(strategy);
  setup.regularizer = std::make_unique<SquaresRegularizer>();
  setup.penalty_weight = penalty_weight;
  setup.seed = 3;
  setup.dtype = at::kDouble;
  return setup;
}

// The loss's derivative by a gate after the batch norm, by autograd, without the penalty.
TEST(TrainerTest, BatchNormsAreObservedWithTheirGradientsOfTheLossAlone) {
  const Dataset data = SmallData();
  auto strategy = std::make_unique<BatchNormStrategy>();
  const BatchNormStrategy& watching = *strategy;
  TrainingSetup setup = SmallSetup(data, std::move(strategy), 0.05);
  setup.regularizer = std::make_unique<SquaresOfActivationsToo>();
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  ASSERT_TRUE(trainer->RunEpoch().ok());
  std::map<std::string, at::Tensor> before;
  for (const NamedTensor& p : trainer->model().parameters()) before[p.name] = p.tensor.detach().clone();
  ASSERT_TRUE(before.at("bn.bias").ne(0).all().item<bool>());
  ASSERT_TRUE(trainer->RunEpoch().ok());
  ASSERT_TRUE(watching.first.has_value());
  TrainingBatches batches(data.train, data.normalization, {}, 4, 3, at::kDouble, at::kCPU);
  const Batch batch = *batches.Get(1, 0);
  const auto of = [&](const char* name) { return before.at(name); };
  const at::Tensor gate = at::ones({4}, at::kDouble).requires_grad_(true);
  const at::Tensor normalized =
      at::batch_norm(at::conv2d(batch.images, of("conv.weight")), of("bn.weight"), of("bn.bias"), {}, {},
                     /*training=*/true, /*momentum=*/0, /*eps=*/1e-5, /*cudnn=*/false);
  const at::Tensor features = at::relu(normalized * gate.view({1, -1, 1, 1})).mean({2, 3});
  const at::Tensor loss = at::cross_entropy_loss(at::linear(features, of("fc.weight"), of("fc.bias")), batch.labels);
  const at::Tensor expected = torch::autograd::grad({loss}, {gate})[0];
  const PrunableBatchNorm& seen = *watching.first;
  EXPECT_TRUE(seen.scale.equal(of("bn.weight")) && seen.shift.equal(of("bn.bias")));
  EXPECT_TRUE(at::allclose(seen.scale * seen.scale_gradient + seen.shift * seen.shift_gradient, expected, 1e-9, 1e-12))
      << expected;
}

// The same two epochs written out: SGD of torch.optim.SGD, the penalty's gradient, the masks of the scripted strategy,
// what masked filters learn of their gradient, and the measures of filters.
void ExpectTheLoopWrittenOut(const DeadGradient& dead) {
  SCOPED_TRACE(absl::StrCat("dead gradient times ", dead.scale, dead.as_live ? ", as live" : ""));
  const Dataset data = SmallData();
  auto strategy = std::make_unique<ScriptedStrategy>();
  strategy->dead = dead;
  TrainingSetup setup = SmallSetup(data, std::move(strategy), 0.05);
  setup.config.set_filter_measures(true);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  Model model = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(model, 3);
  ReferencePlan plan;
  TrainingBatches batches(data.train, data.normalization, {}, 4, 3, at::kDouble, at::kCPU);
  std::vector<at::Tensor> parameters, momentum;
  for (const NamedTensor& p : model.parameters()) parameters.push_back(p.tensor);
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    const at::Tensor before = model.Get("conv.weight").detach().clone().flatten(1);
    const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
    ASSERT_TRUE(record.ok()) << record.status();
    double loss_sum = 0;
    for (int64_t i = 0; i < 3; ++i) {
      const int64_t step = 3 * epoch + i;
      if (step == 1 || step == 2) {
        at::Tensor mask = at::ones({4, 1, 1, 1}, at::kDouble);
        mask[step].zero_();
        model.SetMasks({{"conv", mask}});
      }
      const Batch batch = *batches.Get(epoch, i);
      ForwardOptions options;
      options.mode = Mode::kTrain;
      const at::Tensor loss = at::cross_entropy_loss(plan.Forward(model, batch.images, options).logits, batch.labels);
      loss_sum += loss.item<double>() * batch.labels.size(0);
      const std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, parameters);
      for (size_t p = 0; p < parameters.size(); ++p) {
        const at::Tensor w = parameters[p].detach();
        at::Tensor g = gradients[p].clone();
        const bool conv = model.parameters()[p].name == "conv.weight";
        if (conv && step > 0) {
          const at::Tensor variances = model.Get("bn.running_var");
          const int64_t off = step == 1 ? 1 : 2;
          const double live = (variances.sum() - variances[off]).item<double>() / 3;
          g[off] *= dead.scale * (dead.as_live ? std::sqrt(1e-5 / (live + 1e-5)) : 1);
        }
        if (conv) g += 0.05 * 2 * w;
        g += 0.01 * w;
        if (momentum.size() <= p) {
          momentum.push_back(g.clone());
        } else {
          momentum[p].mul_(0.9).add_(g);
        }
        w.sub_(0.1 * momentum[p]);
      }
    }
    EXPECT_NEAR(record->measures.train_loss(), loss_sum / 10, 1e-12);
    EXPECT_EQ(record->measures.mask_updates(), epoch == 0 ? 2 : 0);
    EXPECT_EQ(record->measures.mask_changes(), epoch == 0 ? 3 : 0);  // filter 1 off; then 1 on and 2 off
    EXPECT_EQ(record->measures.returned_filters(), epoch == 0 ? 1 : 0);
    EXPECT_EQ(record->measures.filter_sparsity(), 0.25);
    EXPECT_EQ(record->measures.live_filters().at("conv"), 3);
    // Filters 0, 1 and 3 are live; 1 and 2 changed before step 2, 1 before step 1, too.
    const at::Tensor now = model.Get("conv.weight").detach().flatten(1), norms = now.norm(2, 1);
    const at::Tensor cosines = (now * before).sum(1) / norms / before.norm(2, 1);
    const auto of_live = [](const at::Tensor& x) { return ((x.sum() - x[2]) / 3).item<double>(); };
    EXPECT_NEAR(record->measures.live_filter_norm(), of_live(norms), 1e-10);
    EXPECT_NEAR(record->measures.dead_filter_norm(), norms[2].item<double>(), 1e-10);
    EXPECT_NEAR(record->measures.turned_degrees(), of_live(cosines.acos()) * 180 / M_PI, 1e-6);
    const double steps = 3 * static_cast<double>(epoch + 1);
    EXPECT_NEAR(record->measures.mask_age(), (2 * steps + 2 * (steps - 2)) / 4, 1e-12);
  }
  for (size_t p = 0; p < parameters.size(); ++p) {
    const NamedTensor& own = trainer->model().parameters()[p];
    EXPECT_LT((own.tensor - parameters[p]).abs().max().item<double>(), 1e-10) << own.name;
  }
}

TEST(TrainerTest, EqualsTheLoopWrittenOut) {
  for (const DeadGradient& dead : {DeadGradient{}, {0.25, false}, {0, false}, {1, true}, {0.5, true}}) {
    ExpectTheLoopWrittenOut(dead);
  }
}

// Stopped in the middle of an epoch, a training goes on with the measures of filters that it had.
TEST(TrainerTest, FilterMeasuresOutliveARestart) {
  const Dataset data = SmallData();
  const auto create = [&] {
    TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0.05);
    setup.config.set_filter_measures(true);
    return setup;
  };
  const std::unique_ptr<Trainer> whole = *Trainer::Create(create());
  TrainingSetup stopped = create();
  int steps = 0;
  stopped.stop = [&] { return ++steps == 2; };
  const std::unique_ptr<Trainer> first = *Trainer::Create(std::move(stopped));
  ASSERT_EQ(first->RunEpoch().status().code(), absl::StatusCode::kCancelled);
  const std::unique_ptr<Trainer> second = *Trainer::Create(create());
  ASSERT_TRUE(second->LoadState(first->SaveState(), "state").ok());
  for (int epoch = 0; epoch < 2; ++epoch) {
    const EpochRecord expected = *whole->RunEpoch(), record = *second->RunEpoch();
    EXPECT_TRUE(record.measures.has_turned_degrees() && record.measures.has_mask_age());
    EXPECT_EQ(record.measures.SerializeAsString(), expected.measures.SerializeAsString()) << epoch;
  }
}

double NormOf(const std::vector<at::Tensor>& tensors) {
  double square = 0;
  for (const at::Tensor& tensor : tensors) square += tensor.square().sum().item<double>();
  return std::sqrt(square);
}

// Two epochs of three steps beside autograd of loss + weight * (term on weights + term on activations) as one sum.
TEST(TrainerTest, ATermOnActivationsGoesBackWithTheLoss) {
  const Dataset data = SmallData();
  constexpr double kWeight = 0.5;
  for (const bool skipping : {true, false}) {
    for (const bool asks : {true, false}) {
      SCOPED_TRACE(std::string(skipping ? "skipping" : "reference") + (asks ? ", gradients asked for" : ""));
      auto strategy = std::make_unique<WatchingStrategy>(asks);
      WatchingStrategy& watching = *strategy;
      TrainingSetup setup = SmallSetup(data, std::move(strategy), kWeight);
      setup.config.set_skipping(skipping);
      setup.config.mutable_sgd()->set_momentum(0);
      setup.config.mutable_sgd()->set_weight_decay(0);
      setup.regularizer = std::make_unique<SquaresOfActivationsToo>();
      const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
      Model model = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
      InitializeParameters(model, 3);
      std::vector<at::Tensor> parameters;
      for (const NamedTensor& p : model.parameters()) parameters.push_back(p.tensor);
      ReferencePlan plan;
      TrainingBatches batches(data.train, data.normalization, {}, 4, 3, at::kDouble, at::kCPU);
      for (int64_t epoch = 0; epoch < 2; ++epoch) {
        const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
        ASSERT_TRUE(record.ok()) << record.status();
        double penalty = 0, ratio = 0, loss_sum = 0;
        at::Tensor shown;  // to the strategy at the epoch's last update: the gradient of the step before
        for (int64_t i = 0; i < 3; ++i) {
          const Batch batch = *batches.Get(epoch, i);
          ForwardOptions options;
          options.mode = Mode::kTrain;
          options.capture = {"relu"};
          const ForwardResult result = plan.Forward(model, batch.images, options);
          const at::Tensor loss = at::cross_entropy_loss(result.logits, batch.labels);
          const at::Tensor term =
              kWeight * (model.Get("conv.weight").square().sum() + result.captured.at("relu").square().mean());
          loss_sum += loss.item<double>() * batch.labels.size(0);
          penalty = term.item<double>();
          const std::vector<at::Tensor> of_loss = torch::autograd::grad({loss}, parameters, {}, true);
          const std::vector<at::Tensor> of_term = torch::autograd::grad({term}, parameters, {}, true, false, true);
          std::vector<at::Tensor> defined;
          for (const at::Tensor& gradient : of_term) {
            if (gradient.defined()) defined.push_back(gradient);
          }
          ASSERT_EQ(defined.size(), 3u);  // conv.weight, bn.weight, bn.bias
          ratio = NormOf(defined) / NormOf(of_loss);
          if (i == 1) shown = of_loss[0];
          const std::vector<at::Tensor> of_sum = torch::autograd::grad({loss + term}, parameters);
          for (size_t p = 0; p < parameters.size(); ++p) parameters[p].detach().sub_(0.1 * of_sum[p]);
        }
        EXPECT_NEAR(record->measures.train_loss(), loss_sum / 10, 1e-12);
        EXPECT_NEAR(record->measures.penalty(), penalty, 1e-12);
        EXPECT_NEAR(record->measures.penalty_gradient_ratio(), ratio, 1e-9);
        ASSERT_EQ(watching.seen.defined(), asks);
        // The loss's gradient alone.
        if (asks) EXPECT_LT((watching.seen - shown).abs().max().item<double>(), 1e-12);
      }
      for (size_t p = 0; p < parameters.size(); ++p) {
        const NamedTensor& own = trainer->model().parameters()[p];
        EXPECT_LT((own.tensor - parameters[p]).abs().max().item<double>(), 1e-10) << own.name;
      }
    }
  }
}

TEST(TrainerTest, StrategiesSeeGradientsFromTheSecondStepOn) {
  const Dataset data = SmallData();
  auto strategy = std::make_unique<ScriptedStrategy>();
  const ScriptedStrategy* seen = strategy.get();
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(SmallSetup(data, std::move(strategy), 0));
  ASSERT_TRUE(trainer->RunEpoch().ok());
  EXPECT_EQ(seen->shown_gradient, (std::vector<bool>{false, true, true}));
}

TEST(TrainerTest, MaskUpdatesMayZeroWeights) {
  const Dataset data = SmallData();
  auto strategy = std::make_unique<ScriptedStrategy>();
  strategy->weights = MaskUpdate::Weights::kZeroMasked;
  strategy->momentum = MaskUpdate::Momentum::kZeroMasked;
  TrainingSetup setup = SmallSetup(data, std::move(strategy), 0);
  setup.config.set_batch_size(10);  // step 1 is epoch 1: its update zeroes filter 1, then one SGD step follows
  setup.config.mutable_sgd()->set_learning_rate(0);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  ASSERT_TRUE(trainer->RunEpoch().ok());
  ASSERT_TRUE(trainer->RunEpoch().ok());
  const at::Tensor weight = trainer->model().Get("conv.weight").detach();
  EXPECT_EQ(weight[1].abs().sum().item<double>(), 0);
  EXPECT_GT(weight[0].abs().sum().item<double>(), 0);
}

TEST(TrainerTest, AnEpochIsEvaluatedWithTheMasksOfItsEnd) {
  const Dataset data = SmallData();
  auto strategy = std::make_unique<EpochEndStrategy>();
  const EpochEndStrategy* seen = strategy.get();
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(SmallSetup(data, std::move(strategy), 0));
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_EQ(record->measures.filter_sparsity(), 0.25);
    EXPECT_EQ(record->measures.mask_updates(), epoch == 0 ? 1 : 2);  // freed and masked again
    EXPECT_EQ(record->measures.returned_filters(), epoch == 0 ? 0 : 1);
    EXPECT_EQ(trainer->model().Get("conv.weight").detach()[1].abs().sum().item<double>(), 0);
    ReferencePlan plan;
    const Evaluation evaluation = *Evaluate(trainer->model(), plan, data.test, data.normalization, 7);
    EXPECT_NEAR(record->measures.test_loss(), evaluation.loss, 1e-12);
  }
  EXPECT_EQ(seen->ends, (std::vector<int64_t>{2, 5}));  // the positions of the epochs' last steps
  // Free in the epoch, the zeroed filter learned again.
  EXPECT_GT(seen->observed[4][1].abs().max().item<double>(), 0);
}

// A strategy that reads gradients sees those of masked weights too, and training goes on as without them.
TEST(TrainerTest, GradientsAreDenseThoughMaskedWeightsLearnNothing) {
  const Dataset data = SmallData();
  std::vector<std::unique_ptr<Trainer>> trainers;
  std::vector<const EpochEndStrategy*> seen;
  Model start = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(start, 3);
  start.Get("bn.bias").detach().fill_(0.5);  // the ReLU behind a dead filter is open
  for (const bool needs_gradients : {false, true}) {
    auto strategy = std::make_unique<EpochEndStrategy>(needs_gradients, /*frees=*/false);
    seen.push_back(strategy.get());
    TrainingSetup setup = SmallSetup(data, std::move(strategy), 0.05);
    setup.config.mutable_sgd()->set_weight_decay(0);
    setup.initial_weights = ModelToSafetensors(start);
    trainers.push_back(*Trainer::Create(std::move(setup)));
    ASSERT_TRUE(trainers.back()->RunEpoch().ok());
  }
  // At the second epoch's first step.
  ASSERT_TRUE(LoadIntoModel(ModelToSafetensors(trainers[1]->model()), "state", start).ok());
  for (const auto& trainer : trainers) ASSERT_TRUE(trainer->RunEpoch().ok());
  for (size_t i = 0; i < trainers[0]->model().parameters().size(); ++i) {
    const NamedTensor &a = trainers[0]->model().parameters()[i], &b = trainers[1]->model().parameters()[i];
    EXPECT_LT((a.tensor - b.tensor).abs().max().item<double>(), 1e-13) << a.name;
  }
  EXPECT_FALSE(seen[0]->observed[3].defined());
  TrainingBatches batches(data.train, data.normalization, {}, 4, 3, at::kDouble, at::kCPU);
  const Batch batch = *batches.Get(1, 0);
  ForwardOptions options;
  options.mode = Mode::kTrain;
  options.policy = GradientPolicy::kStraightThrough;
  ReferencePlan plan;
  const at::Tensor loss = at::cross_entropy_loss(plan.Forward(start, batch.images, options).logits, batch.labels);
  const at::Tensor dense = torch::autograd::grad({loss}, {start.Get("conv.weight")})[0];
  EXPECT_GT(dense[1].abs().max().item<double>(), 0);
  EXPECT_LT((seen[1]->observed[3] - dense).abs().max().item<double>(), 1e-12);
}

TEST(TrainerTest, PenaltyIsLoggedWithItsWeight) {
  const Dataset data = SmallData();
  TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0.5);
  setup.config.mutable_sgd()->set_learning_rate(0);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
  ASSERT_TRUE(record.ok());
  EXPECT_NEAR(record->measures.penalty(),
              0.5 * trainer->model().Get("conv.weight").detach().square().sum().item<double>(), 1e-12);
  EXPECT_GT(record->measures.penalty_gradient_ratio(), 0);
}

TEST(TrainerTest, ALossThatIsLostIsADivergedRecord) {
  const Dataset data = SmallData();
  TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0);
  setup.config.mutable_sgd()->set_learning_rate(1e200);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_TRUE(record->diverged);
  EXPECT_FALSE(record->measures.has_test_top1());
  EXPECT_NE(record->divergence.find("the training loss of step "), std::string::npos) << record->divergence;
}

// One step an epoch: the loss of the only one is finite, what it leaves is not.
TEST(TrainerTest, WeightsThatTheLastStepLosesMakeADivergedRecord) {
  const Dataset data = SmallData();
  for (const bool skipping : {true, false}) {
    for (const int64_t evaluate_every : {1, 5}) {
      TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
      setup.dtype = at::kFloat;
      setup.config.set_skipping(skipping);
      setup.config.set_batch_size(10);
      setup.config.set_evaluate_every(evaluate_every);  // the last epoch's, or also the first's
      setup.config.set_validation_fraction(0.3);
      setup.config.mutable_sgd()->set_learning_rate(1e39);
      const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
      const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
      ASSERT_TRUE(record.ok()) << record.status();
      EXPECT_TRUE(std::isfinite(record->measures.train_loss()));
      EXPECT_TRUE(record->diverged);
      EXPECT_FALSE(record->measures.has_test_top1());
      EXPECT_FALSE(record->measures.has_validation_top1());
      EXPECT_EQ(record->divergence, "36 of 36 numbers of conv.weight are not finite after the last step");
    }
  }
}

// What a filter that is off hides from every logit: no step and no evaluation would ever meet it.
TEST(TrainerTest, ALostWeightUnderAMaskIsSeen) {
  const Dataset data = SmallData();
  class LosingStrategy : public EpochEndStrategy {
   public:
    absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                       const std::vector<PrunableLayer>& layers) override {
      MaskUpdate update;
      update.masks["conv"] = at::ones({4, 1, 1, 1}, layers[0].weight.options());
      update.masks["conv"][1].zero_();
      update.new_weights["conv.weight"] = layers[0].weight.clone();
      update.new_weights["conv.weight"][1][0][2][0] = std::numeric_limits<double>::infinity();
      return std::optional<MaskUpdate>(update);
    }
  };
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(SmallSetup(data, std::make_unique<LosingStrategy>(), 0));
  const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_TRUE(record->diverged);
  EXPECT_EQ(record->divergence, "1 of 36 numbers of conv.weight are not finite after the last step");
}

// Weights are finite; what they make of the images is not.
TEST(TrainerTest, LogitsOfAnEvaluationThatAreNotFiniteMakeADivergedRecord) {
  for (const bool of_validation : {false, true}) {
    Dataset data = SmallData();
    const float infinity = std::numeric_limits<float>::infinity();
    for (LabelledImages* part : {&data.train, &data.test}) part->images = part->images.to(at::kFloat);
    if (of_validation) {
      // Which images these are, the split says.
      const absl::StatusOr<ValidationSplit> split = SplitOffValidation(data.train, 3, 0.3, 0);
      ASSERT_TRUE(split.ok());
      for (int64_t i = 0; i < 10; ++i) {
        for (int64_t j = 0; j < split->validation.size(); ++j) {
          if (at::equal(data.train.images[i], split->validation.images[j])) data.train.images[i].fill_(infinity);
        }
      }
    } else {
      data.test.images[2].fill_(infinity);
      data.test.images[5][0][1][1] = infinity;
    }
    TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
    setup.config.set_validation_fraction(0.3);
    setup.config.set_batch_size(3);
    const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
    const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
    ASSERT_TRUE(record.ok()) << record.status();
    EXPECT_TRUE(record->diverged);
    EXPECT_FALSE(record->measures.has_test_top1());
    EXPECT_FALSE(record->measures.has_validation_top1());
    EXPECT_EQ(record->divergence, of_validation ? "validation data: the logits of 3 of 3 images are not finite"
                                                : "test data: the logits of 2 of 7 images are not finite");
  }
}

TEST(EvaluationTest, ItsFaultIsSaid) {
  EXPECT_EQ(EvaluationFault({1, 0.5, 1, 10, 0}), "");
  EXPECT_EQ(EvaluationFault({std::nan(""), 0, 0, 10, 3}), "the logits of 3 of 10 images are not finite");
  EXPECT_EQ(EvaluationFault({std::nan(""), 0, 0, 1, 1}), "the logits of 1 of 1 image are not finite");
  // Logits so far apart that their softmax overflows.
  EXPECT_EQ(EvaluationFault({std::numeric_limits<double>::infinity(), 0, 0, 10, 0}),
            "the loss of 10 images is inf, though their logits are finite");
}

TEST(TrainerTest, ALastBatchOfOneValueAChannelIsRefused) {
  Network network = SmallNetwork().network();
  Conv2d& conv = *network.mutable_node(1)->mutable_conv2d();
  conv.set_kernel_height(6);
  conv.set_kernel_width(6);  // maps of one pixel
  const Dataset data = SmallData();
  for (const int64_t batch_size : {1, 3, 9, 4, 5, 10, 16}) {
    TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
    setup.network = *NetworkInfo::Create(network);
    setup.config.set_batch_size(batch_size);
    const absl::StatusOr<std::unique_ptr<Trainer>> trainer = Trainer::Create(std::move(setup));
    EXPECT_EQ(trainer.ok(), batch_size != 1 && 10 % batch_size != 1) << batch_size;
    if (trainer.ok()) {
      const absl::StatusOr<EpochRecord> record = (*trainer)->RunEpoch();
      ASSERT_TRUE(record.ok()) << record.status();
      EXPECT_FALSE(record->diverged) << record->divergence;
      continue;
    }
    EXPECT_EQ(ErrorField(trainer.status()), "training.batch_size");
  }
  // 10 images are a batch of 3 less than they were.
  TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
  setup.network = *NetworkInfo::Create(network);
  setup.config.set_batch_size(6);
  setup.config.set_validation_fraction(0.3);
  const absl::Status status = Trainer::Create(std::move(setup)).status();
  EXPECT_EQ(ErrorField(status), "training.batch_size");
  EXPECT_NE(status.message().find("a single one of 7 training images beside the validation data"),
            absl::string_view::npos)
      << status;
}

TEST(TrainerTest, AClassWithNothingLeftToTrainOnIsRefused) {
  Dataset data = SmallData();
  data.train.labels.fill_(0);
  data.train.labels[4].fill_(2);
  TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
  setup.config.set_validation_fraction(0.1);
  EXPECT_EQ(ErrorField(Trainer::Create(std::move(setup)).status()), "training.validation_fraction");
}

TEST(TrainerTest, RecalibrationTakesTheBatchesStatistics) {
  const Dataset data = SmallData();
  TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0);
  setup.config.set_batch_size(10);  // one batch: its statistics are the running ones
  setup.config.set_bn_recalibration_batches(1);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  ASSERT_TRUE(trainer->RunEpoch().ok());
  TrainingBatches batches(data.train, data.normalization, {}, 10, 3, at::kDouble, at::kCPU);
  const at::Tensor y = at::conv2d(batches.Get(0, 0)->images, trainer->model().MaskedWeight("conv"));
  EXPECT_LT((trainer->model().Get("bn.running_mean") - y.mean({0, 2, 3})).abs().max().item<double>(), 1e-12);
  EXPECT_LT((trainer->model().Get("bn.running_var") - y.var({0, 2, 3}, true)).abs().max().item<double>(), 1e-12);
}

// Dropout in steps alone, by the run's streams: the epoch is the run's, whose earlier ones other trainers trained. BN
// is recalibrated on whole activations.
TEST(TrainerTest, DropoutEqualsTheLoopWrittenOut) {
  const Dataset data = SmallData();
  NetworkWriter net;
  net.Image(1, 6, 6);
  net.Dropout("first", "image", 0.3, Dropout::CHANNEL);
  net.Relu("relu", net.BatchNorm("bn", net.Conv("conv", "first", {4})));
  net.Dropout("drop", net.Flatten("flat", net.GlobalAveragePool("pool", "relu")), 0.4);
  net.Linear("fc", "drop", 3);
  const NetworkInfo info = *NetworkInfo::Create(net.Take());
  TrainingSetup setup = SmallSetup(data, std::make_unique<WatchingStrategy>(false), 0);
  setup.network = info;
  setup.first_epoch = 5;
  setup.config.mutable_sgd()->set_momentum(0);
  setup.config.mutable_sgd()->set_weight_decay(0);
  setup.config.set_bn_recalibration_batches(1);
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  Model model = Model::Create(info, at::kDouble, at::kCPU);
  InitializeParameters(model, 3);
  TrainingBatches batches(data.train, data.normalization, {}, 4, 3, at::kDouble, at::kCPU);
  const auto kept = [](const char* node, at::IntArrayRef sizes, double probability, int64_t epoch, int64_t step) {
    RandomStream stream(3, absl::StrCat("dropout/", node), epoch, step);
    const at::Tensor kept = at::empty(sizes, at::kDouble);
    for (int64_t i = 0; i < kept.numel(); ++i) {
      kept.data_ptr<double>()[i] = stream.Next32() < (1 - probability) * 0x1p32 ? 1 / (1 - probability) : 0;
    }
    return kept;
  };
  const auto get = [&](const char* name) { return model.Get(name); };
  std::vector<at::Tensor> parameters;
  for (const NamedTensor& p : model.parameters()) parameters.push_back(p.tensor);
  for (int64_t epoch = 5; epoch < 7; ++epoch) {
    ASSERT_TRUE(trainer->RunEpoch().ok());
    for (int64_t i = 0; i < 3; ++i) {
      const Batch batch = *batches.Get(epoch, i);
      const int64_t n = batch.labels.size(0);
      const at::Tensor y = at::conv2d(batch.images * kept("first", {n, 1, 1, 1}, 0.3, epoch, i), get("conv.weight"));
      const at::Tensor normalized = at::batch_norm(y, get("bn.weight"), get("bn.bias"), {}, {}, true, 0.1, 1e-5, false);
      const at::Tensor features = at::relu(normalized).mean({2, 3}) * kept("drop", {n, 4}, 0.4, epoch, i);
      const at::Tensor loss =
          at::cross_entropy_loss(at::linear(features, get("fc.weight"), get("fc.bias")), batch.labels);
      const std::vector<at::Tensor> gradients = torch::autograd::grad({loss}, parameters);
      for (size_t k = 0; k < parameters.size(); ++k) parameters[k].detach().sub_(gradients[k], 0.1);
    }
    for (const NamedTensor& p : model.parameters()) {
      EXPECT_LT((p.tensor - trainer->model().Get(p.name)).abs().max().item<double>(), 1e-12) << p.name << epoch;
    }
    const at::Tensor whole = at::conv2d(batches.Get(epoch, 0)->images, trainer->model().Get("conv.weight").detach());
    EXPECT_LT((trainer->model().Get("bn.running_mean") - whole.mean({0, 2, 3})).abs().max().item<double>(), 1e-12);
  }
}

// What a run computes: its epochs' records and its final state.
struct Outcome {
  std::vector<EpochRecord> records;
  Safetensors state;
};

// Trains two epochs, stopped after `stop_after` steps (0: not) and taken up by another trainer from the saved bytes.
template <typename Strategy>
Outcome TrainInPieces(const Dataset& data, int64_t stop_after) {
  Outcome outcome;
  const auto setup = [&] {
    TrainingSetup setup = SmallSetup(data, std::make_unique<Strategy>(), 0.05);
    setup.config.set_validation_fraction(0.3);
    setup.config.set_batch_size(3);
    return setup;
  };
  const auto finish = [&](Trainer& trainer) {
    while (trainer.epoch() < 2) {
      absl::StatusOr<EpochRecord> record = trainer.RunEpoch();
      if (absl::IsCancelled(record.status())) return;
      EXPECT_TRUE(record.ok()) << record.status();
      if (!record.ok()) return;
      outcome.records.push_back(*std::move(record));
    }
  };
  TrainingSetup first = setup();
  int64_t steps = 0;
  first.on_step = [&](const StepProgress&) { ++steps; };
  first.stop = [&] { return steps == stop_after; };
  std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(first));
  finish(*trainer);
  if (stop_after > 0) {
    EXPECT_EQ(trainer->epoch() * trainer->iterations_per_epoch() + trainer->iteration(), stop_after);
    const absl::StatusOr<Safetensors> saved = ParseSafetensors(SerializeSafetensors(trainer->SaveState()), "state");
    EXPECT_TRUE(saved.ok()) << saved.status();
    TrainingSetup second = setup();
    trainer = *Trainer::Create(std::move(second));
    const absl::Status loaded = trainer->LoadState(*saved, "state");
    EXPECT_TRUE(loaded.ok()) << loaded;
    finish(*trainer);
  }
  outcome.state = trainer->SaveState();
  return outcome;
}

template <typename Strategy>
void ExpectTheSameBitsTakenUpAfterAnyStep() {
  const Dataset data = SmallData();
  const Outcome whole = TrainInPieces<Strategy>(data, 0);
  ASSERT_EQ(whole.records.size(), 2u);
  ASSERT_TRUE(whole.records[0].measures.has_validation_top1());
  for (int64_t stop_after = 1; stop_after <= 6; ++stop_after) {
    const Outcome pieces = TrainInPieces<Strategy>(data, stop_after);
    ASSERT_EQ(pieces.records.size(), 2u) << stop_after;
    for (int epoch = 0; epoch < 2; ++epoch) {
      const EpochRecord &a = whole.records[epoch], &b = pieces.records[epoch];
      EXPECT_EQ(a.epoch, b.epoch);
      EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equivalent(a.measures, b.measures))
          << "stopped after step " << stop_after << ": " << a.measures.DebugString() << b.measures.DebugString();
    }
    ASSERT_EQ(whole.state.tensors.size(), pieces.state.tensors.size());
    for (const auto& [name, tensor] : whole.state.tensors) {
      EXPECT_TRUE(at::equal(tensor, pieces.state.tensors.at(name))) << name << ", stopped after step " << stop_after;
    }
  }
}

TEST(TrainerTest, TakenUpAfterAnyStepItComputesTheSameBits) {
  ExpectTheSameBitsTakenUpAfterAnyStep<ScriptedStrategy>();
}

// Also between an epoch's last step and what the strategy does at its end.
TEST(TrainerTest, TakenUpAroundTheEndOfAnEpochItComputesTheSameBits) {
  ExpectTheSameBitsTakenUpAfterAnyStep<EpochEndStrategy>();
}

TEST(TrainerTest, AStateOfAnotherTrainingIsRefusedWithAllDifferences) {
  const Dataset data = SmallData();
  const auto trainer = [&] { return *Trainer::Create(SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0)); };
  Safetensors state = trainer()->SaveState();
  state.tensors.erase("momentum/fc.bias");
  state.tensors["conv.weight"] = at::zeros({4, 2, 3, 3}, at::kDouble);
  state.tensors["gradient/other"] = at::zeros({1}, at::kDouble);
  const absl::Status status = trainer()->LoadState(state, "old.safetensors");
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  for (const char* part : {"old.safetensors: ", "missing momentum/fc.bias", "conv.weight has another shape",
                           "unexpected gradient/other"}) {
    EXPECT_NE(status.message().find(part), absl::string_view::npos) << status;
  }
  state = trainer()->SaveState();
  state.tensors["training/position"][0] = 7;
  EXPECT_FALSE(trainer()->LoadState(state, "old.safetensors").ok());
}

// Reads how many epochs there are before a given step; asks at each epoch's end whether it was the last.
class AskingStrategy : public EpochEndStrategy {
 public:
  explicit AskingStrategy(int64_t step) : step_(step) {}
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (position.step() == step_) EXPECT_EQ(position.epochs, 2);
    return EpochEndStrategy::Update(position, layers);
  }
  absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                     const std::vector<PrunableLayer>& layers) override {
    EXPECT_EQ(position.in_last_epoch(), position.epoch == 1);
    return EpochEndStrategy::EndEpoch(position, layers);
  }

 private:
  const int64_t step_;
};

TEST(TrainerTest, AStateSaysWhereItIsAndWhetherTheNumberOfEpochsWasRead) {
  const Dataset data = SmallData();
  const auto places = [&](int64_t asked_before, int64_t resumed_after) {
    std::vector<Trainer::SavedPlace> places;
    Trainer* now = nullptr;
    const auto trainer = [&] {
      TrainingSetup setup = SmallSetup(data, std::make_unique<AskingStrategy>(asked_before), 0);
      setup.config.set_epochs(2);
      setup.on_step = [&](const StepProgress&) { places.push_back(*Trainer::PlaceOf(now->SaveState())); };
      setup.stop = [&] { return static_cast<int64_t>(places.size()) == resumed_after; };
      return *Trainer::Create(std::move(setup));
    };
    std::unique_ptr<Trainer> running = trainer();
    now = running.get();
    while (running->epoch() < 2) {
      if (running->RunEpoch().ok()) continue;
      const Safetensors state = running->SaveState();
      running = trainer();
      now = running.get();
      EXPECT_TRUE(running->LoadState(state, "state").ok());
      resumed_after = -1;
    }
    places.push_back(*Trainer::PlaceOf(running->SaveState()));
    return places;
  };
  for (const int64_t resumed_after : {-1, 1, 3}) {
    const std::vector<Trainer::SavedPlace> never = places(-1, resumed_after);
    const auto steps = static_cast<int64_t>(never.size()) - 1, half = steps / 2;
    for (int64_t i = 0; i < steps; ++i) {
      EXPECT_EQ(never[i].epoch, i / half);
      EXPECT_EQ(never[i].iteration, i % half + 1);
      EXPECT_FALSE(never[i].total_epochs_read) << "that an epoch is not the last one tells nothing";
    }
    EXPECT_TRUE(never.back().total_epochs_read) << "that it is, does";
    const std::vector<Trainer::SavedPlace> once = places(1, resumed_after);
    for (int64_t i = 0; i < steps; ++i) EXPECT_EQ(once[i].total_epochs_read, i >= 1) << i;
  }
  EXPECT_FALSE(Trainer::PlaceOf(Safetensors()).has_value());
  Safetensors old = (*Trainer::Create(SmallSetup(data, std::make_unique<AskingStrategy>(-1), 0)))->SaveState();
  old.metadata.clear();
  EXPECT_TRUE(Trainer::PlaceOf(old)->total_epochs_read) << "where a state does not say";
}

// Remembers a tensor under a name that elsewhere in a state means a mask.
class RememberingStrategy : public ScriptedStrategy {
 public:
  explicit RememberingStrategy(StrategyState* loaded) : loaded_(loaded) {}
  StrategyState SaveState() const override { return {{{"mask/conv", at::zeros({4, 1, 1, 1}, at::kDouble)}}, {}}; }
  absl::Status LoadState(const StrategyState& state) override {
    *loaded_ = state;
    return absl::OkStatus();
  }

 private:
  StrategyState* loaded_;
};

TEST(TrainerTest, AStrategysStateIsItsOwnWhateverItsNames) {
  const Dataset data = SmallData();
  StrategyState loaded;
  const auto trainer = [&] {
    return *Trainer::Create(SmallSetup(data, std::make_unique<RememberingStrategy>(&loaded), 0));
  };
  const std::unique_ptr<Trainer> second = trainer();
  const absl::Status status = second->LoadState(trainer()->SaveState(), "state");
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(loaded.tensors.count("mask/conv"), 1u);
  EXPECT_TRUE(second->model().masks().empty());
}

// Masks the filter that answers least to the first images, by the network as it is before step 3.
class LookingStrategy : public ScriptedStrategy {
 public:
  bool needs_probe() const override { return true; }
  void Attach(const NetworkProbe& probe) override { probe_ = &probe; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (position.step() != 3) return std::nullopt;
    ProbeRequest request;
    request.images = probe_->TrainingImages(0, 6)->images;
    request.capture = {"conv"};
    const at::Tensor answer = probe_->Forward(request).captured.at("conv").abs().mean({0, 2, 3});
    MaskUpdate update;
    update.masks["conv"] = answer.gt(answer.min()).to(answer.scalar_type()).view({4, 1, 1, 1});
    return std::optional<MaskUpdate>(update);
  }

 private:
  const NetworkProbe* probe_ = nullptr;
};

TEST(TrainerTest, AStrategyThatLooksSeesTheSameAfterARestart) {
  const Dataset data = SmallData();
  const std::unique_ptr<Trainer> whole = *Trainer::Create(SmallSetup(data, std::make_unique<LookingStrategy>(), 0));
  Safetensors state;
  TrainingSetup setup = SmallSetup(data, std::make_unique<LookingStrategy>(), 0);
  setup.stop = [] { return true; };
  {
    const std::unique_ptr<Trainer> stopped = *Trainer::Create(std::move(setup));
    EXPECT_TRUE(absl::IsCancelled(stopped->RunEpoch().status()));
    state = stopped->SaveState();
  }
  const std::unique_ptr<Trainer> resumed = *Trainer::Create(SmallSetup(data, std::make_unique<LookingStrategy>(), 0));
  ASSERT_TRUE(resumed->LoadState(state, "state").ok());
  for (int epoch = 0; epoch < 2; ++epoch) {
    ASSERT_TRUE(whole->RunEpoch().ok());
    ASSERT_TRUE(resumed->RunEpoch().ok());
  }
  EXPECT_EQ(whole->model().masks().at("conv").sum().item<double>(), 3);
  EXPECT_TRUE(whole->model().masks().at("conv").equal(resumed->model().masks().at("conv")));
  EXPECT_TRUE(whole->model().Get("conv.weight").equal(resumed->model().Get("conv.weight")));
}

TEST(TrainerTest, StartsFromGivenWeights) {
  const Dataset data = SmallData();
  Model given = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(given, 77);
  TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0);
  setup.initial_weights = ModelToSafetensors(given);
  setup.initial_weights_name = "given.safetensors";
  Safetensors broken = *setup.initial_weights;
  const std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  EXPECT_TRUE(at::equal(trainer->model().Get("conv.weight"), given.Get("conv.weight")));
  broken.tensors.erase("conv.weight");
  setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), 0);
  setup.initial_weights = broken;
  setup.initial_weights_name = "given.safetensors";
  const absl::Status refused = Trainer::Create(std::move(setup)).status();
  EXPECT_NE(refused.message().find("given.safetensors: "), absl::string_view::npos) << refused;
  EXPECT_NE(refused.message().find("missing conv.weight"), absl::string_view::npos) << refused;
}

// The sum of the squares of the batch norms' shifts.
class SquaresOfShifts : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    at::Tensor sum;
    for (const RegularizedLayer& layer : layers) {
      if (!layer.shift.defined()) continue;
      sum = sum.defined() ? sum + layer.shift.square().sum() : layer.shift.square().sum();
    }
    return sum;
  }
};

TEST(TrainerTest, APenaltyMayBeOnShifts) {
  const Dataset data = SmallData();
  Model given = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(given, 77);
  given.Get("bn.bias").detach().fill_(0.5);
  const auto after_a_step = [&](double weight) {
    TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), weight);
    setup.config.set_epochs(1);
    setup.config.set_batch_size(data.train.size());
    setup.regularizer = std::make_unique<SquaresOfShifts>();
    setup.initial_weights = ModelToSafetensors(given);
    std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
    EXPECT_TRUE(trainer->RunEpoch().ok());
    return trainer;
  };
  const std::unique_ptr<Trainer> without = after_a_step(0), with = after_a_step(0.3);
  for (const NamedTensor& parameter : without->model().parameters()) {
    const at::Tensor change = with->model().Get(parameter.name) - parameter.tensor;
    // By the learning rate, the weight, and 2 * 0.5.
    const double expected = parameter.name == "bn.bias" ? -0.1 * 0.3 * 2 * 0.5 : 0;
    EXPECT_LE((change - expected).abs().max().item<double>(), 1e-15) << parameter.name;
  }
}

// The weight of the penalty is 0.03 in the first epoch, twice that in the second, and 0.07 in the third: as if each
// were trained, from where the one before ended, with that weight.
TEST(TrainerTest, ThePenaltysWeightGrows) {
  const Dataset data = SmallData();
  const auto trainer = [&](double weight, bool grows) {
    TrainingSetup setup = SmallSetup(data, std::make_unique<ScriptedStrategy>(), weight);
    setup.config.set_epochs(3);
    if (grows) {
      setup.penalty_growth.emplace();
      setup.penalty_growth->set_period((data.train.size() + 3) / 4);
      setup.penalty_growth->set_until(0.07);
    }
    return *Trainer::Create(std::move(setup));
  };
  const std::unique_ptr<Trainer> growing = trainer(0.03, true);
  std::optional<Safetensors> state;
  for (const double weight : {0.03, 0.06, 0.07}) {
    const absl::StatusOr<EpochRecord> record = growing->RunEpoch();
    ASSERT_TRUE(record.ok()) << record.status();
    const std::unique_ptr<Trainer> constant = trainer(weight, false);
    if (state) {
      ASSERT_TRUE(constant->LoadState(*state, "state").ok());
    }
    const absl::StatusOr<EpochRecord> expected = constant->RunEpoch();
    ASSERT_TRUE(expected.ok()) << expected.status();
    EXPECT_EQ(record->measures.penalty(), expected->measures.penalty()) << weight;
    for (const NamedTensor& parameter : growing->model().parameters()) {
      EXPECT_TRUE(at::equal(parameter.tensor, constant->model().Get(parameter.name))) << weight << parameter.name;
    }
    state = growing->SaveState();
  }
}

// Weights to start from whose masks turn filter 3 off, or also one weight of filter 0, and what a training of two
// epochs makes of them. Beneath the masks they are not zero.
std::unique_ptr<Trainer> TrainedFromMasked(std::unique_ptr<PruningStrategy> strategy, bool weights) {
  static const Dataset* const data = new Dataset(SmallData());
  Model given = Model::Create(SmallNetwork(), at::kDouble, at::kCPU);
  InitializeParameters(given, 77);
  given.Get("bn.bias").detach().fill_(0.5);  // the ReLU behind a dead filter is open
  at::Tensor mask = at::ones({4, 1, weights ? 3 : 1, weights ? 3 : 1}, at::kDouble);
  mask[3].zero_();
  if (weights) mask[0][0][1][2].zero_();
  given.SetMasks({{"conv", mask}});
  TrainingSetup setup = SmallSetup(*data, std::move(strategy), 0.05);  // a penalty on all weights
  setup.initial_weights = ModelToSafetensors(given);
  std::unique_ptr<Trainer> trainer = *Trainer::Create(std::move(setup));
  const at::Tensor weight = trainer->model().Get("conv.weight");
  EXPECT_TRUE(at::equal(weight, given.Get("conv.weight") * mask)) << "masked weights are zero";
  for (int epoch = 0; epoch < 2; ++epoch) EXPECT_TRUE(trainer->RunEpoch().ok());
  return trainer;
}

// As ScriptedStrategy, but one that is made to let filters return.
class RegrowingStrategy : public ScriptedStrategy {
 public:
  bool regrows() const override { return true; }
};

TEST(TrainerTest, WhatComesInMaskedStaysMasked) {
  for (const bool weights : {false, true}) {
    SCOPED_TRACE(weights);
    const std::unique_ptr<Trainer> trainer = TrainedFromMasked(std::make_unique<ScriptedStrategy>(), weights);
    // The strategy has turned filter 1 off and on again, and filter 2 off. It speaks of filter 3 as on.
    at::Tensor expected = at::ones({4, 1, 3, 3}, at::kDouble);
    expected[2].zero_();
    expected[3].zero_();
    if (weights) expected[0][0][1][2].zero_();
    EXPECT_TRUE(at::equal(trainer->model().masks().at("conv").expand({4, 1, 3, 3}), expected));
    const at::Tensor weight = trainer->model().Get("conv.weight").detach();
    EXPECT_EQ(weight[3].abs().max().item<double>(), 0);
    EXPECT_NE(weight[2].abs().max().item<double>(), 0);  // learns on, as the strategy wants it
    EXPECT_EQ(weight[0][0][1][2].item<double>() == 0, weights);
  }
}

TEST(TrainerTest, AStrategyMadeForItMayLetFiltersReturnButNotSingleWeights) {
  const std::unique_ptr<Trainer> filters = TrainedFromMasked(std::make_unique<RegrowingStrategy>(), false);
  EXPECT_TRUE(at::equal(filters->model().masks().at("conv").flatten(), at::tensor({1.0, 1.0, 0.0, 1.0}, at::kDouble)));
  EXPECT_NE(filters->model().Get("conv.weight").detach()[3].abs().max().item<double>(), 0);
  const std::unique_ptr<Trainer> weights = TrainedFromMasked(std::make_unique<RegrowingStrategy>(), true);
  const at::Tensor mask = weights->model().masks().at("conv");
  EXPECT_EQ(mask[3].max().item<double>(), 0);
  EXPECT_EQ(mask[0][0][1][2].item<double>(), 0);
  EXPECT_EQ(mask.sum().item<double>(), 9 + 9 - 1);
}

TEST(LabelRanksTest, TiesGoToTheSmallerIndexAndNanIsNeverRight) {
  const double nan = std::nan("");
  const at::Tensor logits = at::tensor({1., 3., 2., 2., 2., 2., nan, 0., 1.}, at::kDouble).view({3, 3});
  const at::Tensor ranks = LabelRanks(logits, at::tensor({int64_t{2}, int64_t{1}, int64_t{0}}, at::kLong));
  EXPECT_EQ(ranks[0].item<int64_t>(), 1);  // one larger
  EXPECT_EQ(ranks[1].item<int64_t>(), 1);  // an equal one stands before
  EXPECT_EQ(ranks[2].item<int64_t>(), 3);
}

}  // namespace
}  // namespace prunelab
