// Compares captured steps with steps that are launched kernel by kernel. On the host a recorder that keeps the work and
// repeats it takes the place of CUDA graphs, and sees what they would: a recording reads the same memory each time, and
// nothing in it synchronizes with the device. (training_device_test.cc compares graphs themselves, on a GPU.)
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
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
#include "ml/distributed/testing/rank_threads.h"
#include "ml/execution/waiting_calls.h"
#include "ml/models/dataset_defaults.h"
#include "ml/models/model_builder.h"
#include "ml/models/testing/built_network.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

google::protobuf::Any Plugin(const std::string& text) {
  google::protobuf::Any any;
  EXPECT_TRUE(
      google::protobuf::TextFormat::ParseFromString(absl::StrCat("[type.googleapis.com/prunelab.", text), &any));
  return any;
}

// The memory that LibTorch's calls used: what they read that existed before the work was watched, and what was
// allocated in it.
class MemoryUsed {
 public:
  static MemoryUsed By(const std::function<void()>& work) {
    const auto allocated = std::make_shared<Allocations>();
    MemoryUsed used;
    g_used = &used;
    g_allocated = &allocated->memory;
    const at::CallbackHandle handle =
        at::addGlobalCallback(at::RecordFunctionCallback(&Begin).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
    {
      const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, allocated);
      work();
    }
    at::removeCallback(handle);
    g_used = nullptr;
    used.allocated_ = std::move(allocated->memory);
    return used;
  }
  // The memory, with the call that read it first.
  const std::map<const void*, std::string>& read() const { return read_; }
  const std::set<const void*>& allocated() const { return allocated_; }

 private:
  // LibTorch tells a memory profiler what it allocates.
  struct Allocations : c10::MemoryReportingInfoBase {
    void reportMemoryUsage(void* memory_now, int64_t bytes, size_t, size_t, c10::Device) override {
      if (bytes > 0) memory.insert(memory_now);
    }
    bool memoryProfilingEnabled() const override { return true; }
    std::set<const void*> memory;
  };

  static std::unique_ptr<at::ObserverContext> Begin(const at::RecordFunction& call) {
    const auto see = [&](const at::Tensor& tensor) {
      if (!tensor.defined() || tensor.numel() == 0) return;
      const void* memory = tensor.storage().data();
      if (!g_allocated->count(memory)) g_used->read_.emplace(memory, call.name());
    };
    for (const c10::IValue& input : call.inputs()) {
      if (input.isTensor()) see(input.toTensor());
      if (!input.isTensorList()) continue;
      for (const at::Tensor& tensor : input.toTensorVector()) see(tensor);
    }
    return nullptr;
  }

  static MemoryUsed* g_used;
  static std::set<const void*>* g_allocated;
  std::map<const void*, std::string> read_;
  std::set<const void*> allocated_;
};
MemoryUsed* MemoryUsed::g_used = nullptr;
std::set<const void*>* MemoryUsed::g_allocated = nullptr;

struct Seen {
  int64_t runs = 0, records = 0, replays = 0;
  std::set<std::string> waiting;  // in all that was replayed
  std::set<const void*> made;     // by the last replay: a graph would have made it in the same place each time
};

// Repeats the work that it was given. What its first replay read, except for what the replay before it had made, is
// what a graph would read each time; a later replay must not read anything else.
class HostRecording : public Recording {
 public:
  HostRecording(std::function<void()> work, Seen* seen) : work_(std::move(work)), seen_(seen) {}
  void Replay() override {
    ++seen_->replays;
    MemoryUsed used;
    seen_->waiting.merge(WaitingCalls([&] { used = MemoryUsed::By(work_); }));
    const bool first = reads_.empty();
    for (const auto& [memory, call] : used.read()) {
      if (seen_->made.count(memory)) continue;
      if (first) reads_.insert(memory);
      EXPECT_TRUE(reads_.count(memory)) << call << ": a graph would have read where this lay when it was recorded";
    }
    seen_->made = used.allocated();
  }

 private:
  const std::function<void()> work_;
  Seen* const seen_;
  std::set<const void*> reads_;
};

class HostRecorder : public Recorder {
 public:
  explicit HostRecorder(Seen* seen) : seen_(seen) {}
  void Run(const std::function<void()>& work) override {
    ++seen_->runs;
    work();
  }
  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    ++seen_->records;
    seen_->made.clear();  // it may have been freed since then, and reused for memory that is read now
    return std::make_unique<HostRecording>(work, seen_);
  }

 private:
  Seen* const seen_;
};

constexpr int64_t kImages = 42, kBatch = 4, kEpochs = 2;  // 11 steps an epoch, the last of two images

Dataset RandomData() {
  Dataset data;
  data.info = {10, 3, 8, 8, kImages, 10};
  const auto images = [](int64_t n, const char* name) {
    LabelledImages images = {at::empty({n, 3, 8, 8}, at::kByte), at::arange(n, at::kLong).remainder(10)};
    RandomStream stream(3, name);
    for (int64_t i = 0; i < images.images.numel(); ++i) {
      images.images.mutable_data_ptr<uint8_t>()[i] = static_cast<uint8_t>(stream.Below(256));
    }
    return images;
  };
  data.train = images(kImages, "train");
  data.test = images(10, "test");
  data.normalization.mean = {0.5, 0.5, 0.5};
  data.normalization.stddev = {0.25, 0.25, 0.25};
  return data;
}

struct Case {
  const char* name;
  const char* pruning;
  const char* regularizer;
  // Computes its term on a GPU without synchronizing; the version for the CPU synchronizes.
  bool waits_on_cpu = false;
  bool dropout = false;
  const char* training = "";  // merged over the training
};

const Case kCases[] = {
    {"dense", "NoPruning] {}", "NoRegularizer] {}"},
    {"dynamic_cov", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}"},
    {"dynamic_gradient", "DynamicL1] { rate: 0.6 period: 2 importance: GRADIENT ranking { scope: PER_LAYER } }",
     "SquaredCorrelation] {}"},
    {"static_kernel_cov", "Static] { rate: 0.5 epoch: 1 ranking { scope: PER_LAYER } }", "KernelCov] { scale: MEAN }"},
    {"weights", "Unstructured] { rate: 0.7 }", "NoRegularizer] {}"},
    // Masked gradients with a strategy that reads dense ones, and sums them as it observes them.
    {"taylor_decov", "Taylor] { rate: 0.5 period: 3 }", "Decov] {}"},
    {"random_orthoreg", "Random] { rate: 0.4 period: 3 redraw: true }", "Orthoreg] {}", true},
    {"dpf_srip", "Dpf] { rate: 0.5 period: 3 }", "Srip] {}"},
    {"zhu", "NoPruning] {}", "ZhuDecorrelation] {}", true},
    {"dropout", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}", false, true},
    {"adamw", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}", false, false,
     "adamw { learning_rate: 0.002 }"},
    {"clipped_smooth", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}", false, false,
     "label_smoothing: 0.1 clip_gradient_norm: 0.5"},
    {"teacher", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}", false, false,
     "teacher { checkpoint: 'x' }"},
    {"average", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Cov] {}", false, false,
     "weight_average { decay: 0.9 }"},
    {"accumulated", "DynamicL1] { rate: 0.6 period: 2 ranking { scope: PER_LAYER } }", "Decov] {}", false, false,
     "accumulate_batches: 2"},
    {"taylor_batch_norms", "Taylor] { rate: 0.5 period: 3 form: BATCH_NORM_GATE }", "Decov] {}"},
};
const Case& kDropoutCase = kCases[9];

// The ResNet with stochastic depth in each block and dropout before the classifier.
NetworkInfo WithDropout(const NetworkInfo& info) {
  Network network;
  const auto append = [&](const std::string& name, const std::string& input, double probability, Dropout::Unit unit) {
    Node* node = network.add_node();
    node->set_name(name);
    node->add_input(input);
    node->mutable_dropout()->set_probability(probability);
    node->mutable_dropout()->set_unit(unit);
  };
  for (const Node& node : info.network().node()) {
    Node changed = node;
    if (node.op_case() == Node::kAdd) {
      const std::string name = absl::StrCat(node.name(), ".depth");
      append(name, node.input(0), 0.25, network.node_size() % 2 == 0 ? Dropout::IMAGE : Dropout::BATCH);
      changed.set_input(0, name);
    } else if (node.op_case() == Node::kLinear) {
      append("maps", "relu", 0, Dropout::ELEMENT);  // which nobody reads, and of probability 0
      append("dropout", node.input(0), 0.5, Dropout::ELEMENT);
      changed.set_input(0, "dropout");
    }
    *network.add_node() = changed;
  }
  return *NetworkInfo::Create(network);
}

std::unique_ptr<Trainer> MakeTrainer(const Case& test, const Dataset& data, at::Device device, at::ScalarType dtype,
                                     std::unique_ptr<Recorder> recorder, std::function<bool()> stop = {},
                                     std::unique_ptr<PruningStrategy> strategy = nullptr,
                                     std::function<void(const std::string&)> warn = {}, Ranks* ranks = nullptr) {
  at::set_num_threads(1);  // allocations by other threads would not be seen
  TrainingSetup setup;
  setup.network = BuiltNetwork(BuildNetwork(Plugin("ResNetCifar] { depth: 8 width: 8 }"), DefaultsOf(data.info)));
  if (test.dropout) setup.network = WithDropout(setup.network);
  setup.dataset = &data;
  setup.config.set_epochs(kEpochs);
  setup.config.set_batch_size(kBatch);
  setup.config.mutable_sgd()->set_learning_rate(0.02);
  setup.config.mutable_sgd()->set_momentum(0.9);
  setup.config.mutable_sgd()->set_weight_decay(1e-3);
  setup.config.mutable_schedule()->set_warmup_epochs(1);  // another rate each step
  Training own;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(test.training, &own));
  setup.config.MergeFrom(own);
  if (own.has_teacher()) {
    setup.teacher =
        Model::Create(BuiltNetwork(BuildNetwork(Plugin("ResNetCifar] { depth: 14 width: 8 }"), DefaultsOf(data.info))),
                      dtype, device);
    InitializeParameters(*setup.teacher, 5);
  }
  setup.config.set_cuda_graphs(false);                    // if it was not given a recorder
  if (device.is_cpu()) setup.config.set_skipping(false);  // that plan runs only on the CPU
  setup.seed = 7;
  setup.dtype = dtype;
  setup.device = device;
  setup.strategy = std::move(strategy);
  if (!setup.strategy) setup.strategy = *CreatePruningStrategy(Plugin(test.pruning), {&setup.network, setup.seed});
  setup.regularizer = *CreateRegularizer(Plugin(test.regularizer), setup.network);
  setup.penalty_weight = 0.7;
  setup.recorder = std::move(recorder);
  setup.stop = std::move(stop);
  setup.on_warning = std::move(warn);
  setup.ranks = ranks;
  absl::StatusOr<std::unique_ptr<Trainer>> trainer = Trainer::Create(std::move(setup));
  EXPECT_TRUE(trainer.ok()) << trainer.status();
  return *std::move(trainer);
}

// Trains the remaining epochs; returns the last epoch's record.
EpochRecord Train(Trainer& trainer) {
  EpochRecord record;
  while (trainer.epoch() < kEpochs) {
    absl::StatusOr<EpochRecord> next = trainer.RunEpoch();
    EXPECT_TRUE(next.ok()) << next.status();
    if (!next.ok()) break;
    record = *std::move(next);
    EXPECT_FALSE(record.diverged);
  }
  return record;
}

// Bit for bit.
void ExpectSame(const Trainer& ours, const Trainer& expected) {
  const Safetensors a = ours.SaveState(), b = expected.SaveState();
  ASSERT_EQ(a.tensors.size(), b.tensors.size());
  EXPECT_EQ(a.metadata, b.metadata);
  for (const auto& [name, tensor] : b.tensors) EXPECT_TRUE(at::equal(a.tensors.at(name), tensor)) << name;
}

class RecordedStepTest : public testing::TestWithParam<Case> {};

TEST_P(RecordedStepTest, TrainingIsTheSameBitForBit) {
  const Dataset data = RandomData();
  Seen seen;
  const auto plain = MakeTrainer(GetParam(), data, at::kCPU, at::kFloat, nullptr);
  const auto recorded = MakeTrainer(GetParam(), data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen));
  const EpochRecord expected = Train(*plain), ours = Train(*recorded);
  ExpectSame(*recorded, *plain);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(ours.measures, expected.measures))
      << ours.measures.DebugString() << expected.measures.DebugString();
  EXPECT_EQ(recorded->executed_macs(), plain->executed_macs());
  if (!GetParam().waits_on_cpu) EXPECT_THAT(seen.waiting, IsEmpty());
  // Of each epoch's eleven steps the last differs from the others, and the very first initializes SGD's momentum. A
  // step has two halves. Three steps come before each recording, which is repeated when layers get their first masks or
  // masks of another shape.
  const bool first_differs = !absl::StrContains(GetParam().training, "adamw");
  // With several batches a step, the first half is run for each.
  const int64_t others = recorded->iterations_per_epoch() - 1;
  const int64_t halves = 1 + (others < 10 ? 2 : 1);
  EXPECT_EQ(seen.runs + seen.replays, halves * (others - first_differs + others));
  EXPECT_EQ(2 * seen.runs, 3 * halves * seen.records);
  EXPECT_GE(seen.records, 2);
  EXPECT_LE(seen.records, 4);
}

INSTANTIATE_TEST_SUITE_P(Cases, RecordedStepTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return std::string(info.param.name); });

TEST(RecordedStepsTest, AResumedTrainingEndsInTheSameBits) {
  const Dataset data = RandomData();
  for (const Case& test : {kCases[1], kDropoutCase, kCases[10]}) {
    SCOPED_TRACE(test.name);
    Seen seen, resumed_seen;
    const auto whole = MakeTrainer(test, data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen));
    Train(*whole);
    int steps = 0;
    const auto first = MakeTrainer(test, data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen),
                                   [&] { return ++steps == 8; });  // in the middle of replays
    ASSERT_TRUE(absl::IsCancelled(first->RunEpoch().status()));
    const auto second = MakeTrainer(test, data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&resumed_seen));
    ASSERT_TRUE(second->LoadState(first->SaveState(), "state").ok());
    Train(*second);
    ExpectSame(*second, *whole);
    EXPECT_GT(resumed_seen.replays, 0);
  }
}

// With several ranks a step's sums over them are among what is recorded, and what follows reads them where it did.
TEST(RecordedStepsTest, WithRanksReplayedStepsReadTheSums) {
  const Dataset data = RandomData();
  for (const Case& test : {kCases[1], kCases[5], kCases[14]}) {
    SCOPED_TRACE(test.name);
    OnRanks(1, [&](Ranks& ranks) {
      Seen seen;
      const auto plain = MakeTrainer(test, data, at::kCPU, at::kFloat, nullptr, {}, nullptr, {}, &ranks);
      const auto recorded =
          MakeTrainer(test, data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen), {}, nullptr, {}, &ranks);
      Train(*plain);
      Train(*recorded);
      ExpectSame(*recorded, *plain);
      EXPECT_GT(seen.replays, 0);
    });
  }
}

// What is dropped differs from step to step: a recording that kept the numbers of one step would train another network.
TEST(RecordedStepsTest, DropoutChangesTheTraining) {
  const Dataset data = RandomData();
  Case without = kDropoutCase;
  without.dropout = false;
  const auto dropped = MakeTrainer(kDropoutCase, data, at::kCPU, at::kFloat, nullptr);
  const auto whole = MakeTrainer(without, data, at::kCPU, at::kFloat, nullptr);
  Train(*dropped);
  Train(*whole);
  EXPECT_FALSE(at::equal(dropped->model().Get("fc.weight"), whole->model().Get("fc.weight")));
}

// Loading a state into a trainer with a recording replaces values, not the tensors that the recording reads.
TEST(RecordedStepsTest, AStateIsLoadedUnderARecording) {
  const Dataset data = RandomData();
  Seen seen;
  const auto plain = MakeTrainer(kCases[1], data, at::kCPU, at::kFloat, nullptr);
  const auto recorded = MakeTrainer(kCases[1], data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen));
  ASSERT_TRUE(plain->RunEpoch().ok());
  const Safetensors state = plain->SaveState();
  Train(*plain);
  Train(*recorded);
  const int64_t replays = seen.replays;
  ASSERT_TRUE(recorded->LoadState(state, "state").ok());
  Train(*recorded);
  ExpectSame(*recorded, *plain);
  EXPECT_GT(seen.replays, replays);
}

// Masks nothing; asks for the loss's gradients from its seventh step on.
class LateQuestion : public PruningStrategy {
 public:
  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  bool needs_gradients() const override { return steps_ >= 7; }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition&, const std::vector<PrunableLayer>&) override {
    ++steps_;
    return std::optional<MaskUpdate>();
  }

 private:
  int64_t steps_ = 0;
};

// Gradients that a strategy reads are those of the loss alone, and dense; a recording from before it asked for them has
// others.
TEST(RecordedStepsTest, AStepIsRecordedAnewWhereTheStrategyBeginsToAskForGradients) {
  const Dataset data = RandomData();
  const Case decov = {"decov", "NoPruning] {}", "Decov] {}"};
  Seen never, late;
  const auto train = [&](Seen& seen, std::unique_ptr<PruningStrategy> strategy) {
    auto trainer =
        MakeTrainer(decov, data, at::kCPU, at::kFloat, std::make_unique<HostRecorder>(&seen), {}, std::move(strategy));
    Train(*trainer);
  };
  train(never, nullptr);
  train(late, std::make_unique<LateQuestion>());
  EXPECT_EQ(late.records, never.records + 2) << "a recording is two halves";
  EXPECT_GT(late.replays, 0);
}

// A regularizer whose arithmetic synchronizes with the device: a recorder refuses its second half.
class RefusingRecorder : public Recorder {
 public:
  RefusingRecorder(Seen* seen, int64_t allowed) : seen_(seen), recorder_(seen), allowed_(allowed) {}
  void Run(const std::function<void()>& work) override { recorder_.Run(work); }
  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    if (seen_->records < allowed_) return recorder_.Record(work);
    ++refused_;
    return absl::FailedPreconditionError("cannot be recorded as a CUDA graph: operation not permitted");
  }
  static int64_t refused_;

 private:
  Seen* const seen_;
  HostRecorder recorder_;
  const int64_t allowed_;
};
int64_t RefusingRecorder::refused_ = 0;

TEST(RecordedStepsTest, WithoutARecordingTheTrainingGoesOnAndSaysSoOnce) {
  const Dataset data = RandomData();
  const Case& test = kCases[3];  // gets its masks in the second epoch, so that it is recorded twice
  const auto plain = MakeTrainer(test, data, at::kCPU, at::kFloat, nullptr);
  Train(*plain);
  for (const int64_t allowed : {0, 1, 2, 3}) {
    SCOPED_TRACE(absl::StrCat(allowed, " recordings are allowed"));
    RefusingRecorder::refused_ = 0;
    Seen seen;
    std::vector<std::string> warnings;
    const auto trainer =
        MakeTrainer(test, data, at::kCPU, at::kFloat, std::make_unique<RefusingRecorder>(&seen, allowed), {}, nullptr,
                    [&](const std::string& warning) { warnings.push_back(warning); });
    Train(*trainer);
    ExpectSame(*trainer, *plain);
    EXPECT_THAT(warnings, ElementsAre("a training step cannot be recorded as a CUDA graph: operation not permitted; "
                                      "the training goes on without CUDA graphs, which is slower (training { "
                                      "cuda_graphs: false } says so from the start)"));
    EXPECT_EQ(RefusingRecorder::refused_, 1) << "it is not tried again";
    EXPECT_EQ(seen.replays > 0, allowed >= 2);
  }
}

}  // namespace
}  // namespace prunelab
