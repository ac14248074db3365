// Trainings on every device that there is (ml/kernels/testing/devices.h): their numbers beside the CPU's, captured
// steps beside plain ones bit for bit, resumed trainings, trainings that cannot be captured or diverge, every strategy
// and regularizer, and what a step and a recording cost. On the CPU a recorder that keeps the work and repeats it takes
// the place of CUDA graphs (recorded_step_test.cc looks at what it may do), and the sizes are small.
#include <ATen/ATen.h>
#include <ATen/core/CachingHostAllocator.h>
#include <ATen/record_function.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "google/protobuf/util/message_differencer.h"
#include "ml/base/random.h"
#include "ml/kernels/instruction_set.h"
#include "ml/kernels/testing/devices.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

google::protobuf::Any Plugin(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat("[type.googleapis.com/prunelab.", text), &any));
  return any;
}

Dataset RandomData(int64_t train_images, int64_t size) {
  Dataset data;
  const auto images = [size](int64_t n, const char* name) {
    LabelledImages images = {at::empty({n, 3, size, size}, at::kByte), at::arange(n, at::kLong).remainder(10)};
    RandomStream stream(3, name);
    for (int64_t i = 0; i < images.images.numel(); ++i) {
      images.images.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(stream.Below(256));
    }
    return images;
  };
  data.train = images(train_images, "train");
  data.test = images(16, "test");
  data.info = InfoOf(10, data.train, data.test);
  data.normalization.mean = {0.5, 0.5, 0.5};
  data.normalization.stddev = {0.25, 0.25, 0.25};
  return data;
}

// Repeats on the host the work that it was given.
class RepeatingRecorder : public Recorder {
 public:
  void Run(const std::function<void()>& work) override { work(); }
  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    return std::make_unique<Repeated>(work);
  }

 private:
  struct Repeated : Recording {
    explicit Repeated(std::function<void()> work) : work(std::move(work)) {}
    void Replay() override { work(); }
    const std::function<void()> work;
  };
};

std::unique_ptr<Recorder> MakeRecorder(at::Device device) {
  return device.is_cuda() ? MakeCudaGraphRecorder(device) : std::make_unique<RepeatingRecorder>();
}

// A training; what is not set here is as SetupOf() has it.
struct Case {
  std::string network = "ResNetCifar] { depth: 8 width: 8 }";
  std::string pruning = "NoPruning] {}";
  std::string regularizer = "NoRegularizer] {}";
  int64_t epochs = 2, batch_size = 4;
  double learning_rate = 0.02;
  Training::Precision precision = Training::FLOAT32;
  bool skipping = false;
  at::ScalarType dtype = at::kFloat;
  std::string training;  // merged over all that
};

// What a config may add to plain SGD, each alone and all together.
const char* const kRecipes[] = {
    "adamw { learning_rate: 0.002 epsilon: 1e-3 }",
    "label_smoothing: 0.1",
    "clip_gradient_norm: 0.5",
    "weight_average { decay: 0.9 }",
    "teacher { checkpoint: 't' }",
    "accumulate_batches: 3",
    "adamw { learning_rate: 0.002 epsilon: 1e-3 } label_smoothing: 0.1 clip_gradient_norm: 0.5 "
    "weight_average { decay: 0.9 } teacher { checkpoint: 't' } accumulate_batches: 2",
};

TrainingSetup SetupOf(const Case& test, const Dataset& data, at::Device device) {
  TrainingSetup setup;
  setup.network = BuiltNetwork(BuildNetwork(Plugin(test.network), DefaultsOf(data.info)));
  setup.dataset = &data;
  setup.config.set_epochs(test.epochs);
  setup.config.set_batch_size(test.batch_size);
  setup.config.set_precision(test.precision);
  setup.config.set_skipping(test.skipping);
  setup.config.set_cuda_graphs(false);  // unless it is given a recorder
  setup.config.mutable_sgd()->set_learning_rate(test.learning_rate);
  setup.config.mutable_sgd()->set_momentum(0.9);
  setup.config.mutable_sgd()->set_weight_decay(1e-3);
  setup.config.mutable_schedule()->set_warmup_epochs(1);  // another rate each step
  Training own;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(test.training, &own)) << test.training;
  setup.config.MergeFrom(own);
  setup.seed = 7;
  setup.dtype = test.dtype;
  setup.device = device;
  if (own.has_teacher()) {
    setup.teacher =
        Model::Create(BuiltNetwork(BuildNetwork(Plugin("ResNetCifar] { depth: 14 width: 8 }"), DefaultsOf(data.info))),
                      test.dtype, device);
    InitializeParameters(*setup.teacher, 5);
  }
  PruningSetup pruning;
  pruning.network = &setup.network;
  pruning.seed = setup.seed;
  setup.strategy = *CreatePruningStrategy(Plugin(test.pruning), pruning);
  setup.regularizer = *CreateRegularizer(Plugin(test.regularizer), setup.network);
  setup.penalty_weight = 0.1;
  if (absl::StartsWith(test.regularizer, "Greg")) {  // as it is meant: a captured step must read the weight anew
    setup.penalty_growth.emplace();
    setup.penalty_growth->set_period(2);
    setup.penalty_growth->set_until(0.35);
  }
  setup.on_warning = [](const std::string& warning) { ADD_FAILURE() << warning; };
  return setup;
}

std::unique_ptr<Trainer> Started(TrainingSetup setup) {
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = Trainer::Create(std::move(setup));
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

std::unique_ptr<Trainer> Plain(const Case& test, const Dataset& data, at::Device device) {
  return Started(SetupOf(test, data, device));
}

std::unique_ptr<Trainer> Captured(const Case& test, const Dataset& data, at::Device device,
                                  std::function<bool()> stop = {}) {
  TrainingSetup setup = SetupOf(test, data, device);
  setup.recorder = MakeRecorder(device);
  setup.stop = std::move(stop);
  return Started(std::move(setup));
}

// As a run with the default settings trains: fused on a GPU and captured, and by the plan that skips on a CPU, where
// nothing is captured.
std::unique_ptr<Trainer> Default(Case test, const Dataset& data, at::Device device) {
  test.skipping = true;
  return device.is_cuda() ? Captured(test, data, device) : Plain(test, data, device);
}

// Trains the remaining epochs; the last one's record.
EpochRecord Train(Trainer& trainer, int64_t epochs) {
  EpochRecord record;
  while (trainer.epoch() < epochs && !record.diverged) {
    absl::StatusOr<EpochRecord> next = trainer.RunEpoch();
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok()) break;
    record = *std::move(next);
  }
  return record;
}

void ExpectSameBits(const Trainer& ours, const Trainer& expected) {
  const Safetensors a = ours.SaveState(), b = expected.SaveState();
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  EXPECT_EQ(a.metadata, b.metadata);
  for (const auto& [name, tensor] : b.tensors) EXPECT_TRUE(at::equal(a.tensors.at(name), tensor)) << name;
}

void ExpectNear(const Trainer& ours, const Trainer& expected, double tolerance) {
  const Safetensors a = ours.SaveState(), b = expected.SaveState();
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  for (const auto& [name, tensor] : b.tensors) {
    const double largest = std::max(1.0, tensor.abs().max().item<double>());
    EXPECT_LE((a.tensors.at(name) - tensor).abs().max().item<double>(), tolerance * largest) << name;
  }
}

// The same training twice: without capturing and with it.
void ExpectCapturedAsPlain(const Case& test, const Dataset& data, at::Device device) {
  const auto plain = Plain(test, data, device), captured = Captured(test, data, device);
  const EpochRecord expected = Train(*plain, test.epochs), ours = Train(*captured, test.epochs);
  EXPECT_FALSE(expected.diverged) << expected.divergence;
  ExpectSameBits(*captured, *plain);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(ours.measures, expected.measures))
      << ours.measures.DebugString() << expected.measures.DebugString();
}

class DeviceTest : public testing::TestWithParam<at::Device> {
 protected:
  // Without its instructions a CPU emulates bfloat16 slowly, which is enough for a test.
  DeviceTest() : has_bfloat16_(HasBfloat16()) { SetHasBfloat16(true); }
  ~DeviceTest() override { SetHasBfloat16(has_bfloat16_); }

  bool gpu() const { return GetParam().is_cuda(); }
  // A GPU takes the size that is trained, a CPU one that is quick.
  Case Whole() const {
    Case test;
    if (gpu()) test.network = "ResNetCifar] { depth: 56 }";
    test.batch_size = gpu() ? 128 : 8;
    test.epochs = 1;
    return test;
  }
  Dataset WholeData(int64_t steps) const { return RandomData(steps * Whole().batch_size, gpu() ? 32 : 8); }
  // Those that the device computes itself.
  std::vector<Training::Precision> Precisions() const {
    if (gpu()) return {Training::FLOAT32, Training::TF32, Training::BFLOAT16};
    return {Training::FLOAT32, Training::BFLOAT16};
  }

 private:
  const bool has_bfloat16_;
};

INSTANTIATE_TEST_SUITE_P(Devices, DeviceTest, testing::ValuesIn(Devices()), DeviceName());

// The first step's loss depends on nothing but the forward pass, so it shows by how much products are rounded.
TEST_P(DeviceTest, AFirstLossIsAsExactAsItsPrecision) {
  const Dataset data = WholeData(1);
  Case exact = Whole();
  exact.dtype = at::kDouble;
  const double expected = Train(*Plain(exact, data, at::kCPU), 1).measures.train_loss();
  std::map<Training::Precision, double> losses;
  for (const Training::Precision precision : Precisions()) {
    for (const bool skipping : {false, true}) {
      Case test = Whole();
      test.precision = precision;
      test.skipping = skipping;
      SCOPED_TRACE(absl::StrCat(Training::Precision_Name(precision), skipping ? ", fused" : ""));
      losses[precision] = Train(*Plain(test, data, GetParam()), 1).measures.train_loss();
      const double off = std::abs(losses[precision] / expected - 1);
      if (precision == Training::FLOAT32) EXPECT_LT(off, 1e-5);
      if (precision == Training::TF32) EXPECT_LT(off, 1e-2);
      if (precision == Training::BFLOAT16) EXPECT_LT(off, 5e-2);
    }
  }
  EXPECT_NE(losses[Training::BFLOAT16], losses[Training::FLOAT32]) << "nothing was rounded";
  if (gpu()) EXPECT_NE(losses[Training::TF32], losses[Training::FLOAT32]) << "nothing was rounded";
}

// 24 steps, each of which makes the one before it matter.
TEST_P(DeviceTest, LossesOfManyStepsAreTheCpus) {
  const Dataset data = WholeData(24);
  for (const char* pruning : {"NoPruning] {}", "DynamicL1] { rate: 0.5 period: 4 ranking { scope: PER_LAYER } }"}) {
    SCOPED_TRACE(pruning);
    Case test = Whole();
    test.pruning = pruning;
    test.learning_rate = 0.005;
    const double expected = Train(*Plain(test, data, at::kCPU), 1).measures.train_loss();
    for (const Training::Precision precision : Precisions()) {
      SCOPED_TRACE(Training::Precision_Name(precision));
      test.precision = precision;
      const double loss = Train(*Default(test, data, GetParam()), 1).measures.train_loss();
      EXPECT_LT(std::abs(loss / expected - 1), precision == Training::FLOAT32 ? 1e-4 : 3e-2);
    }
  }
}

TEST_P(DeviceTest, Float64IsTheCpus) {
  const Dataset data = RandomData(42, 8);
  for (const char* regularizer : {"NoRegularizer] {}", "Cov] {}", "Decov] {}"}) {
    SCOPED_TRACE(regularizer);
    Case test;
    test.pruning = "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }";
    test.regularizer = regularizer;
    test.dtype = at::kDouble;
    const auto exact = Plain(test, data, at::kCPU);
    Train(*exact, test.epochs);
    const auto ours = Default(test, data, GetParam());
    Train(*ours, test.epochs);
    ExpectNear(*ours, *exact, 1e-5);  // the learning rate on a GPU is a float
  }
}

TEST_P(DeviceTest, CapturedStepsGiveTheBitsOfPlainOnes) {
  const Dataset data = WholeData(24);
  for (const Training::Precision precision : Precisions()) {
    // On a CPU the plan that skips cannot be captured, and never is: it reads masks on the host.
    for (const bool skipping : gpu() ? std::vector<bool>{true, false} : std::vector<bool>{false}) {
      SCOPED_TRACE(absl::StrCat(Training::Precision_Name(precision), skipping ? ", fused" : ""));
      Case test = Whole();
      test.pruning = "DynamicL1] { rate: 0.5 period: 4 ranking { scope: PER_LAYER } }";
      test.regularizer = "Cov] {}";
      test.precision = precision;
      test.skipping = skipping;
      ExpectCapturedAsPlain(test, data, GetParam());
    }
  }
}

TEST_P(DeviceTest, EachRecipeIsCapturedResumedAndTheCpus) {
  const Dataset data = RandomData(42, 8);
  for (const char* recipe : kRecipes) {
    SCOPED_TRACE(recipe);
    Case test;
    test.pruning = "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }";
    test.regularizer = "Cov] {}";
    test.training = recipe;
    test.batch_size = 3;
    for (const Training::Precision precision : Precisions()) {
      test.precision = precision;
      ExpectCapturedAsPlain(test, data, GetParam());
    }
    test.precision = Training::FLOAT32;
    const auto whole = Captured(test, data, GetParam());
    Train(*whole, test.epochs);
    int64_t steps = 0;
    const auto first = Captured(test, data, GetParam(), [&] { return ++steps == 4; });
    ASSERT_TRUE(absl::IsCancelled(first->RunEpoch().status()));
    const auto second = Captured(test, data, GetParam());
    ASSERT_TRUE(second->LoadState(first->SaveState(), "state").ok());
    Train(*second, test.epochs);
    ExpectSameBits(*second, *whole);
    test.dtype = at::kDouble;
    const auto exact = Plain(test, data, at::kCPU), ours = Default(test, data, GetParam());
    Train(*exact, test.epochs);
    Train(*ours, test.epochs);
    ExpectNear(*ours, *exact, 1e-5);  // the learning rate on a GPU is a float
  }
}

// Eleven steps an epoch: the first starts the momentum, three set up libraries, the fifth captures, and the last of an
// epoch is plain.
TEST_P(DeviceTest, AResumedTrainingEndsInTheSameBits) {
  const Dataset data = RandomData(42, 8);
  for (const char* pruning :
       {"DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Taylor] { rate: 0.5 period: 3 }",
        "Taylor] { rate: 0.5 period: 3 form: BATCH_NORM_GATE }", "Rigl] { rate: 0.5 period: 3 }",
        "Movement] { rate: 0.5 period: 2 end_epoch: 1 }"}) {
    Case test;
    test.pruning = pruning;
    test.skipping = gpu();
    const auto whole = Captured(test, data, GetParam());
    Train(*whole, test.epochs);
    for (const int64_t stop_after : {1, 3, 5, 8, 11, 13}) {
      SCOPED_TRACE(absl::StrCat(pruning, " stopped after step ", stop_after));
      int64_t steps = 0;
      const auto first = Captured(test, data, GetParam(), [&] { return ++steps == stop_after; });
      absl::Status stopped;
      while (stopped.ok()) stopped = first->RunEpoch().status();
      ASSERT_TRUE(absl::IsCancelled(stopped)) << stopped;
      const auto second = Captured(test, data, GetParam());
      ASSERT_TRUE(second->LoadState(first->SaveState(), "state").ok());
      Train(*second, test.epochs);
      ExpectSameBits(*second, *whole);
    }
  }
}

const char* const kStrategies[] = {
    "Chip] { rate: 0.6 epoch: 1 }",
    "Dpf] { rate: 0.6 period: 3 end_epoch: 1 }",
    "DynamicL1] { rate: 0.6 period: 2 }",
    "Fpgm] { rate: 0.6 }",
    "Gradual] { rate: 0.6 end_epoch: 1 period: 3 }",
    "Grasp] { rate: 0.6 }",
    "Hrank] { rate: 0.6 epoch: 1 }",
    "Lamp] { rate: 0.6 epoch: 1 }",
    "Movement] { rate: 0.6 end_epoch: 1 period: 2 }",
    "NetworkSlimming] { rate: 0.6 epoch: 1 }",
    "NoPruning] {}",
    "Pfec] { rate: 0.6 epoch: 1 }",
    "Random] { rate: 0.6 period: 3 redraw: true }",
    "Resrep] { rate: 0.6 first_epoch: 0 period: 3 filters_at_a_time: 9 threshold: 1e9 layers { include: '*' } }",
    "Rigl] { rate: 0.6 period: 3 }",
    "Snip] { rate: 0.6 }",
    "SoftFilter] { rate: 0.6 }",
    "Static] { rate: 0.6 epoch: 1 }",
    "Synflow] { rate: 0.6 }",
    "Taylor] { rate: 0.6 period: 3 }",
    "Thinet] { rate: 0.6 epoch: 1 }",
    "Unstructured] { rate: 0.6 one_shot { epoch: 1 } }",
};

const char* const kRegularizers[] = {
    "BatchNormL1] {}",
    "Cov] {}",
    "Decov] {}",
    "Greg] {}",
    "GroupLasso] {}",
    "KernelCov] { scale: MEAN }",
    "NoRegularizer] {}",
    "Orthogonality] {}",
    "Orthoreg] {}",
    "PaperZero] {}",
    "SparseGroupNorm] {}",
    "SquaredCorrelation] {}",
    "Srip] {}",
    "Tpp] {}",
    "Tpp] { batch_norms: true }",
    "ZhuDecorrelation] {}",
};

// The names of the plugins' messages, "prunelab.Cov".
template <typename Registry>
std::set<std::string> Linked(const Registry& registry) {
  std::set<std::string> names;
  for (const auto& [name, plugin] : registry.linked()) names.insert(plugin.parameters->full_name());
  return names;
}

template <typename Texts>
std::set<std::string> Named(const Texts& texts) {
  std::set<std::string> names;
  for (const std::string text : texts) names.insert(absl::StrCat("prunelab.", text.substr(0, text.find(']'))));
  return names;
}

TEST(MethodsTest, AllThatAreLinkedAreTried) {
  EXPECT_EQ(Named(kStrategies), Linked(PruningStrategies()));
  EXPECT_EQ(Named(kRegularizers), Linked(Regularizers()));
}

// With a GPU every pair; without, every strategy without and with cov, and every regularizer with dynamic masks.
TEST_P(DeviceTest, EveryStrategyAndRegularizerCanBeCaptured) {
  const Dataset data = RandomData(42, 8);
  for (const std::string pruning : kStrategies) {
    for (const std::string regularizer : kRegularizers) {
      const bool short_form =
          regularizer == "NoRegularizer] {}" || regularizer == "Cov] {}" || absl::StartsWith(pruning, "DynamicL1");
      if (!gpu() && !short_form) continue;
      SCOPED_TRACE(absl::StrCat(pruning, " with ", regularizer));
      Case test;
      test.pruning = pruning;
      test.regularizer = regularizer;
      test.skipping = gpu();
      test.learning_rate = 0.002;
      ExpectCapturedAsPlain(test, data, GetParam());
    }
  }
}

// Looks at its value, which waits for the device.
class LookingRegularizer : public Regularizer {
 public:
  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    const at::Tensor value = layers[0].weight.square().sum();
    return value.item<double>() > 0 ? value : value * 0;
  }
};

// What a graph would do with it, on the host.
class RefusingRecorder : public RepeatingRecorder {
 public:
  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>&) override {
    return absl::FailedPreconditionError("cannot be recorded as a CUDA graph: operation not permitted");
  }
};

TEST_P(DeviceTest, ARegularizerThatWaitsTrainsWithoutGraphs) {
  const Dataset data = RandomData(42, 8);
  const auto start = [&](std::unique_ptr<Recorder> recorder, std::function<void(const std::string&)> warn) {
    TrainingSetup setup = SetupOf({}, data, GetParam());
    setup.regularizer = std::make_unique<LookingRegularizer>();
    setup.recorder = std::move(recorder);
    setup.on_warning = std::move(warn);
    return Started(std::move(setup));
  };
  std::vector<std::string> warnings;
  const auto plain = start(nullptr, [](const std::string& warning) { ADD_FAILURE() << warning; });
  const auto captured = start(gpu() ? MakeRecorder(GetParam()) : std::make_unique<RefusingRecorder>(),
                              [&](const std::string& warning) { warnings.push_back(warning); });
  Train(*plain, 2);
  Train(*captured, 2);
  ExpectSameBits(*captured, *plain);
  EXPECT_THAT(warnings, ElementsAre(HasSubstr("a training step cannot be recorded as a CUDA graph: ")));
  // The process goes on: another training is captured in it.
  ExpectCapturedAsPlain({}, data, GetParam());
}

// On a GPU it is noticed when the epoch ends, because looking at each step would wait for it.
TEST_P(DeviceTest, ALossThatIsNoNumberEndsTheTraining) {
  const Dataset data = RandomData(42, 8);
  Case test;
  test.learning_rate = 1e30;
  const auto trainer = Captured(test, data, GetParam());
  const EpochRecord record = Train(*trainer, test.epochs);
  EXPECT_TRUE(record.diverged);
  EXPECT_THAT(record.divergence, gpu() ? HasSubstr("the training loss is not finite") : HasSubstr("the training loss"));
  EXPECT_FALSE(record.measures.has_test_top1());
}

// Max pools with and without overlapping windows, and LAMP's sums.
TEST_P(DeviceTest, ATrainingRepeatsBitForBit) {
  for (const auto& [network, size] :
       {std::pair("Vgg] { depth: 11 width: 8 }", 32), std::pair("ResNetImageNet] { depth: 18 width: 8 }", 64),
        std::pair("ResNetCifar] { depth: 8 }", 16)}) {
    const Dataset data = RandomData(32, size);
    SCOPED_TRACE(network);
    Case test;
    test.network = network;
    test.pruning = "Unstructured] { rate: 0.6 ranking { scope: GLOBAL_LAMP } }";
    test.batch_size = 8;
    test.learning_rate = 0.002;
    test.skipping = gpu();
    const auto once = Captured(test, data, GetParam()), again = Captured(test, data, GetParam());
    const EpochRecord record = Train(*once, test.epochs);
    EXPECT_FALSE(record.diverged) << record.divergence;
    Train(*again, test.epochs);
    ExpectSameBits(*again, *once);
  }
}

// What a process holds, in bytes.
struct Memory {
  int64_t host = 0, pinned = 0, device = 0;
};

Memory MemoryNow(at::Device device) {
  Memory memory;
  int64_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages >> pages;  // the second number is what is resident
  memory.host = pages * sysconf(_SC_PAGESIZE);
  if (!device.is_cuda()) return memory;
  memory.device = c10::getDeviceAllocator(at::kCUDA)->getDeviceStats(device.index()).reserved_bytes[0].current;
  memory.pinned = at::getHostAllocator(at::kCUDA)->get_stats().allocated_bytes.current;
  return memory;
}

// Each change of the gradient policy is another kind of step, which is captured anew.
class ChangingPolicy : public PruningStrategy {
 public:
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override {
    return steps_ / 5 % 2 == 0 ? GradientPolicy::kMasked : GradientPolicy::kStraightThrough;
  }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition&, const std::vector<PrunableLayer>&) override {
    ++steps_;
    return std::optional<MaskUpdate>();
  }

 private:
  int64_t steps_ = 0;
};

TEST_P(DeviceTest, CapturingAgainAndAgainTakesNoMoreMemory) {
  const Dataset data = RandomData(5 * 4 * 10 + 4, 8);  // ten captures an epoch
  TrainingSetup setup = SetupOf({}, data, GetParam());
  setup.config.set_epochs(11);
  setup.strategy = std::make_unique<ChangingPolicy>();
  setup.recorder = MakeRecorder(GetParam());
  const auto trainer = Started(std::move(setup));
  ASSERT_TRUE(trainer->RunEpoch().ok());
  const Memory before = MemoryNow(GetParam());
  Train(*trainer, 11);
  const Memory after = MemoryNow(GetParam());
  EXPECT_LE(after.device, before.device + (int64_t{4} << 20)) << "more than two of the smallest segments";
  EXPECT_LE(after.pinned, before.pinned + (int64_t{1} << 20));
  EXPECT_LE(after.host, before.host + (int64_t{64} << 20));
}

// Counts LibTorch's calls, which on a GPU are a kernel each or none, while the object lives.
class CallCounter {
 public:
  CallCounter()
      : handle_(at::addGlobalCallback(at::RecordFunctionCallback(&Begin).scopes({at::RecordScope::FUNCTION}))) {
    count = 0;
  }
  ~CallCounter() { at::removeCallback(handle_); }
  static std::atomic<int64_t> count;

 private:
  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction&) {
    ++count;
    return nullptr;
  }
  const at::CallbackHandle handle_;
};
std::atomic<int64_t> CallCounter::count{0};

// On a CPU they are 60 and 58.
constexpr int64_t kCallsOfAStep = 100, kCallsOfAnUpdate = 100;

// Ceilings on what a step, and an update of all masks, asks a device for, by convolution: a network of twice as many
// layers would need twice as much.
TEST_P(DeviceTest, AStepAndAnUpdateMakeFewCalls) {
  const Dataset data = RandomData(20, 8);  // five steps; the second and the fourth begin with an update
  Case test;
  test.network = "ResNetCifar] { depth: 20 width: 8 }";
  test.pruning = "DynamicL1] { rate: 0.5 period: 2 ranking { scope: PER_LAYER } }";
  test.skipping = true;
  test.epochs = 1;
  TrainingSetup setup = SetupOf(test, data, GetParam());
  std::vector<int64_t> calls;
  setup.on_step = [&](const StepProgress&) { calls.push_back(CallCounter::count.exchange(0)); };
  const auto trainer = Started(std::move(setup));
  const int64_t convolutions = static_cast<int64_t>(trainer->model().info().convs().size());
  {
    const CallCounter counter;
    ASSERT_TRUE(trainer->RunEpoch().ok());
  }
  ASSERT_EQ(calls.size(), 5u);
  const int64_t of_a_step = calls[2], of_an_update = calls[3] - calls[2];
  RecordProperty("calls_of_a_step", absl::StrCat(of_a_step));
  RecordProperty("calls_of_an_update", absl::StrCat(of_an_update));
  EXPECT_GT(of_a_step, convolutions) << "nothing was counted";
  EXPECT_LT(of_a_step, kCallsOfAStep * convolutions);
  EXPECT_GT(of_an_update, convolutions) << "nothing was updated";
  EXPECT_LT(of_an_update, kCallsOfAnUpdate * convolutions);
}

}  // namespace
}  // namespace prunelab
