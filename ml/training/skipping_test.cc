// Compares trainings by the skipping plan with the same by the reference plan: whole runs in float64, single steps from
// the states of a real run in float32.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/random.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

google::protobuf::Any Plugin(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat("[type.googleapis.com/prunelab.", text), &any));
  return any;
}

struct Case {
  const char* name;
  const char* network;
  const char* pruning;
  const char* regularizer;
  double learning_rate;
  int64_t image_size = 16;
};

constexpr char kPerLayer[] = "DynamicL1] { rate: 0.6 ranking { scope: PER_LAYER } }";

const Case kCases[] = {
    {"resnet20_dense", "ResNetCifar] { depth: 20 }", "NoPruning] {}", "", 0.05},
    // With fresh weights the global ranking masks whole layers and blocks.
    {"resnet20_dynamic_cov", "ResNetCifar] { depth: 20 }", "DynamicL1] { rate: 0.6 }", "Cov] {}", 0.05},
    {"resnet20_dynamic_per_layer", "ResNetCifar] { depth: 20 }", kPerLayer, "", 0.05},
    // Filters return at every step.
    {"resnet20_random", "ResNetCifar] { depth: 20 }", "Random] { rate: 0.6 period: 1 redraw: true }", "", 0.02},
    {"resnet20_static", "ResNetCifar] { depth: 20 }", "Static] { rate: 0.6 epoch: 1 ranking { scope: PER_LAYER } }", "",
     0.05},
    {"resnet20_unstructured", "ResNetCifar] { depth: 20 }", "Unstructured] { rate: 0.9 }", "", 0.05},
    {"resnet56_dynamic", "ResNetCifar] { depth: 56 }", kPerLayer, "", 0.002},
    {"resnet18_dynamic", "ResNetImageNet] { depth: 18 stem: CIFAR width: 16 }", kPerLayer, "", 0.002},
    {"vgg11_dynamic", "Vgg] { depth: 11 width: 16 }", kPerLayer, "", 0.0004, 32},
    {"vgg11_static", "Vgg] { depth: 11 width: 16 }", "Static] { rate: 0.6 }", "", 0.002, 32},
};

constexpr int64_t kImages = 32, kBatch = 4, kEpochs = 3;  // 24 steps

Dataset RandomData(int64_t size) {
  Dataset data;
  data.info = {10, 3, size, size, kImages, kImages};
  data.train.images = at::empty({kImages, 3, size, size}, at::kByte);
  RandomStream stream(3, "skipping_test");
  for (int64_t i = 0; i < data.train.images.numel(); ++i) {
    data.train.images.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(stream.Below(256));
  }
  data.train.labels = at::arange(kImages, at::kLong).remainder(10);
  data.test = data.train;
  data.normalization.mean = {0.5, 0.5, 0.5};
  data.normalization.stddev = {0.25, 0.25, 0.25};
  return data;
}

// BN's biases with both signs, as after some training, and zero. (But not in VGG: without shortcuts the gradient of a
// bias can be zero except for rounding, and then the sign of a zero after a step depends on rounding, too.)
void SpreadBiases(Model& model) {
  const bool zeros = model.Has("layer1.0.conv1.weight");
  for (const NamedTensor& parameter : model.parameters()) {
    if (parameter.tensor.dim() != 1) continue;
    RandomStream stream(4, parameter.name);
    at::Tensor values = at::empty({parameter.tensor.numel()}, at::kDouble);
    for (int64_t i = 0; i < values.numel(); ++i) {
      values.mutable_data_ptr<double>()[i] = zeros && i % 5 == 0 ? 0 : 0.2 * (stream.Uniform() - 0.5);
    }
    parameter.tensor.detach().add_(values);
  }
}

std::unique_ptr<Trainer> MakeTrainer(const Case& test, const Dataset& data, at::ScalarType dtype, int64_t epochs,
                                     int64_t batch_size, bool skipping, std::function<bool()> stop) {
  TrainingSetup setup;
  setup.network = BuiltNetwork(BuildNetwork(Plugin(test.network), DefaultsOf(data.info)));
  setup.dataset = &data;
  setup.config.set_epochs(epochs);
  setup.config.set_batch_size(batch_size);
  setup.config.set_evaluate_every(epochs);
  setup.config.mutable_sgd()->set_learning_rate(test.learning_rate);
  setup.config.mutable_sgd()->set_momentum(0.9);
  setup.config.mutable_sgd()->set_weight_decay(1e-3);
  setup.config.set_skipping(skipping);
  setup.seed = 7;
  setup.dtype = dtype;
  setup.strategy = *CreatePruningStrategy(Plugin(test.pruning), {&setup.network, setup.seed});
  setup.regularizer =
      *CreateRegularizer(Plugin(test.regularizer[0] ? test.regularizer : "NoRegularizer] {}"), setup.network);
  setup.penalty_weight = 0.7;
  setup.stop = std::move(stop);
  return *Trainer::Create(std::move(setup));
}

// The largest difference of any parameter or buffer, relative to its tensor's largest entry (or 1).
double LargestDifference(const Model& a, const Model& b) {
  double largest = 0;
  for (const auto& [list, other] :
       {std::pair(&a.parameters(), &b.parameters()), std::pair(&a.buffers(), &b.buffers())}) {
    for (size_t i = 0; i < list->size(); ++i) {
      const at::Tensor x = (*list)[i].tensor.detach().to(at::kDouble), y = (*other)[i].tensor.detach().to(at::kDouble);
      const double scale = std::max(1.0, y.abs().max().item<double>());
      const double difference = (x - y).abs().max().item<double>() / scale;
      largest = difference > largest || std::isnan(difference) ? difference : largest;
    }
  }
  return largest;
}

class SkippingTest : public testing::TestWithParam<Case> {};

TEST_P(SkippingTest, WeightsAndMasksOver24Steps) {
  const Case& test = GetParam();
  const Dataset data = RandomData(test.image_size);
  const auto reference = MakeTrainer(test, data, at::kDouble, kEpochs, kBatch, false, {});
  const auto skipping = MakeTrainer(test, data, at::kDouble, kEpochs, kBatch, true, {});
  SpreadBiases(reference->model());
  SpreadBiases(skipping->model());
  int64_t returned = 0;
  for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const absl::StatusOr<EpochRecord> expected = reference->RunEpoch(), ours = skipping->RunEpoch();
    ASSERT_TRUE(expected.ok() && ours.ok());
    ASSERT_FALSE(expected->diverged);
    EXPECT_NEAR(ours->measures.train_loss(), expected->measures.train_loss(), 1e-9 * expected->measures.train_loss());
    EXPECT_LT(LargestDifference(skipping->model(), reference->model()), 1e-9) << "epoch " << epoch;
    EXPECT_EQ(ours->measures.mask_changes(), expected->measures.mask_changes());
    EXPECT_EQ(ours->measures.returned_filters(), expected->measures.returned_filters());
    returned += expected->measures.returned_filters();
    for (const auto& [node, mask] : reference->model().masks()) {
      EXPECT_TRUE(at::equal(mask, skipping->model().masks().at(node))) << node << " in epoch " << epoch;
    }
    if (expected->measures.has_test_loss())
      EXPECT_NEAR(ours->measures.test_loss(), expected->measures.test_loss(), 1e-9 * expected->measures.test_loss());
  }
  const std::string name = test.name;
  if (name.find("dynamic") != std::string::npos || name.find("random") != std::string::npos) EXPECT_GT(returned, 0);
  if (name.find("dense") == std::string::npos && name.find("unstructured") == std::string::npos) {
    EXPECT_LT(skipping->executed_macs(), reference->executed_macs());
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, SkippingTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

// Mean |w| of each filter of all convolutions, in float64.
at::Tensor Importances(const Model& model) {
  std::vector<at::Tensor> parts;
  for (const ConvInfo& conv : model.info().convs()) {
    const at::Tensor weight = model.Get(absl::StrCat(conv.node, ".weight")).detach();
    parts.push_back(weight.to(at::kDouble).abs().mean({1, 2, 3}));
  }
  return at::cat(parts);
}

// If an activation is within rounding of zero, its ReLU's gate may be open in one plan and closed in the other, and the
// step differs by that gradient. Such a state is recognized by this: one of the two plans agrees with float64, and in
// float64, where rounding is too fine for it, both agree.
TEST(SkippingTrajectoryTest, Float32StepsFromAHundredStatesOfATraining) {
  const Dataset data = *OpenDataset(Plugin("Digits] {}"));
  const Case test = {"", "ResNetCifar] { depth: 20 }", "DynamicL1] { rate: 0.6 }", "Cov] {}", 0.05};
  const auto one_step = [] { return true; };
  const auto reference = MakeTrainer(test, data, at::kFloat, 8, 32, false, one_step);
  const auto skipping = MakeTrainer(test, data, at::kFloat, 8, 32, true, one_step);
  const auto exact = MakeTrainer(test, data, at::kDouble, 8, 32, false, one_step);
  const auto exact_skipping = MakeTrainer(test, data, at::kDouble, 8, 32, true, one_step);
  int64_t certain = 0, filters = 0, agreeing = 0;
  for (int states = 0; states < 100;) {
    if (reference->iteration() == reference->iterations_per_epoch()) {
      ASSERT_TRUE(reference->RunEpoch().ok());  // only its end
      continue;
    }
    Safetensors state = reference->SaveState();
    ASSERT_TRUE(skipping->LoadState(state, "state").ok());
    ASSERT_TRUE(absl::IsCancelled(reference->RunEpoch().status()));
    ASSERT_TRUE(absl::IsCancelled(skipping->RunEpoch().status()));
    ++states;
    if (LargestDifference(skipping->model(), reference->model()) < 1e-4) {
      ++agreeing;
    } else {
      for (auto& [name, tensor] : state.tensors) {
        if (tensor.scalar_type() == at::kFloat) tensor = tensor.to(at::kDouble);
      }
      for (Trainer* trainer : {exact.get(), exact_skipping.get()}) {
        ASSERT_TRUE(trainer->LoadState(state, "state").ok());
        ASSERT_TRUE(absl::IsCancelled(trainer->RunEpoch().status()));
      }
      EXPECT_LT(LargestDifference(exact_skipping->model(), exact->model()), 1e-9) << "state " << states;
      EXPECT_LT(std::min(LargestDifference(skipping->model(), exact->model()),
                         LargestDifference(reference->model(), exact->model())),
                1e-5)
          << "state " << states;
    }
    // The masks that the next update would give.
    const at::Tensor expected = Importances(reference->model()), ours = Importances(skipping->model());
    const int64_t n = expected.numel(), k = static_cast<int64_t>(0.6 * static_cast<double>(n)) + 1;
    const at::Tensor threshold = std::get<0>(at::kthvalue(expected, k));
    const at::Tensor our_threshold = std::get<0>(at::kthvalue(ours, k));
    const at::Tensor clear = (expected - threshold).abs() > 1e-5 * threshold;
    const at::Tensor same = (expected > threshold) == (ours > our_threshold);
    EXPECT_TRUE(at::logical_or(same, clear.logical_not()).all().item<bool>()) << "state " << states;
    certain += clear.sum().item<int64_t>();
    filters += n;
  }
  RecordProperty("agreeing", static_cast<int>(agreeing));
  EXPECT_GE(agreeing, 95);
  EXPECT_GT(certain, filters * 99 / 100);
}

}  // namespace
}  // namespace prunelab
