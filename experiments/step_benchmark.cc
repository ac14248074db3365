// Times training steps on synthetic data, as the training loop makes them, and prints one JSON object.
//
//   bazel run //experiments:step_benchmark -- --masks=uniform:0.6
//       --pruning='[type.googleapis.com/prunelab.DynamicL1] { rate: 0.6 }'
//
// milliseconds: the median step, including batch assembly; cpu_milliseconds: the processor time of all its threads. On
// a GPU, with which nothing synchronizes, both are means over all timed steps, from an idle device to an idle device.
// loss: the mean over all steps. peak_bytes: how much more memory the process held at its peak in training than before
// it; on a GPU, how much of the device's memory it had allocated at the peak. executed_macs: multiply-accumulates of a
// step's convolutions and linear layers for one image, forward and backward; dense_macs: the same without masks.
//
// Three flags look at steps instead of timing them alone, so that a device can be compared with another
// (tools/gpu_check.py):
//
//   --save_after=1,24 --save_to=FOLDER  trains 24 steps of an epoch of 25, on any device the same, and writes the
//                                       training's state (ml/execution/saved_state.proto) to FOLDER/step1.safetensors
//                                       and FOLDER/step24.safetensors; nothing is timed. `recordings` and `replays`
//                                       say how many halves of steps were recorded and replayed, on a GPU
//   --count_waits                       adds `waits`: in how many of the timed steps the host waited for the device,
//                                       with and without an update of the masks, and in which calls
//   --new_shapes_every=5                every fifth step gives the masks another shape, for which a GPU's steps are
//                                       recorded anew; adds `memory`, what is held at each of these steps, and
//                                       `recordings` and `replays`
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gflags/gflags.h>
#include <sys/resource.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/parse_plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/base/training_process.h"
#include "ml/base/with_prefix.h"
#include "ml/data/dataset.h"
#include "ml/data/synthetic.pb.h"
#include "ml/execution/device.h"
#include "ml/execution/recorder.h"
#include "ml/execution/uniform_masks.h"
#include "ml/execution/waiting_calls.h"
#include "ml/models/model_builder.h"
#include "ml/pruning/none.pb.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/none.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"
#include "ml/statistics/summary.h"
#include "ml/training/precision.h"
#include "ml/training/step_plan.h"
#include "ml/training/trainer.h"

DEFINE_string(network, "[type.googleapis.com/prunelab.ResNetCifar] { depth: 56 }", "The network.");
DEFINE_int64(batch, 128, "Images a step.");
DEFINE_string(pruning, "", "The strategy; left out: none.");
DEFINE_string(regularizer, "", "The regularizer, at weight 0.7; left out: none.");
DEFINE_string(masks, "strategy",
              "strategy: the strategy's own; uniform:0.6: this fraction of each convolution's filters off, chosen at "
              "random from a fixed seed; or a .safetensors file with `<conv>.mask`. With other masks than its own the "
              "strategy's updates are computed on their schedule and put aside.");
DEFINE_int32(threads, 2, "Threads to compute with.");
DEFINE_int64(steps, 20, "Steps that are timed, after three that are not (on a GPU ten).");
DEFINE_string(device, "cpu", "auto, cpu or cuda; auto takes a GPU where there is one.");
DEFINE_bool(skipping, true,
            "Whether the plan that skips runs, on the CPU, or that which fuses, on a GPU; else the reference plan.");
DEFINE_bool(cuda_graphs, true, "Whether steps are recorded and replayed, on a GPU.");
DEFINE_string(precision, "float32", "Of the step: float32; bfloat16, which has no plan that skips; or tf32, on a GPU.");
DEFINE_double(learning_rate, 0.1, "Of SGD, above 0.");
DEFINE_string(dtype, "float32", "Of weights and activations: float32 or float64.");
DEFINE_string(save_after, "", "Steps, from 1 on and ascending, as in 1,24: the state after each of them is saved.");
DEFINE_string(save_to, "", "The folder for the states that --save_after names.");
DEFINE_bool(count_waits, false, "Counts the steps in which the host waits for the device.");
DEFINE_int64(new_shapes_every, 0,
             "Steps after which the masks, uniform ones or a file's, change their shape; 0: never.");
DEFINE_bool(json, true, "One line of JSON; else a key and its value a line.");

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kWarmUp = 3;
constexpr int64_t kWarmUpOnDevice = 10;  // steps are captured during it
constexpr double kPenaltyWeight = 0.7;

// The plugin that a flag names, or `otherwise` if the flag is empty.
absl::StatusOr<google::protobuf::Any> Plugin(absl::string_view flag, const std::string& text,
                                             const google::protobuf::Message& otherwise) {
  if (!text.empty()) return ParsePlugin(flag, text);
  google::protobuf::Any plugin;
  plugin.PackFrom(otherwise);
  return plugin;
}

// Computes another strategy's updates on their schedule, and changes nothing.
class UpdatesPutAside : public PruningStrategy {
 public:
  explicit UpdatesPutAside(std::unique_ptr<PruningStrategy> strategy) : strategy_(std::move(strategy)) {}
  Granularity granularity() const override { return strategy_->granularity(); }
  GradientPolicy gradient_policy() const override { return strategy_->gradient_policy(); }
  bool needs_gradients() const override { return strategy_->needs_gradients(); }
  bool needs_batch_norms() const override { return strategy_->needs_batch_norms(); }
  bool needs_probe() const override { return strategy_->needs_probe(); }
  void Attach(const NetworkProbe& probe) override { strategy_->Attach(probe); }
  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    PRUNELAB_RETURN_IF_ERROR(strategy_->Update(position, layers).status());
    return std::optional<MaskUpdate>();
  }
  void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) override {
    strategy_->Observe(position, layers);
  }

 private:
  std::unique_ptr<PruningStrategy> strategy_;
};

absl::StatusOr<std::map<std::string, at::Tensor>> FileMasks(const std::string& path, const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, ReadSafetensors(UserPath(path)));
  std::map<std::string, at::Tensor> masks;
  for (const ParameterSpec& spec : network.parameters()) {
    const auto found = file.tensors.find(absl::StrCat(spec.node, ".mask"));
    if (spec.shape.size() != 4 || found == file.tensors.end()) continue;
    at::Tensor mask = found->second;
    if (mask.dim() != 4 || mask.size(0) != spec.shape[0] ||
        !(mask.numel() == spec.shape[0] || mask.sizes() == at::IntArrayRef(spec.shape))) {
      return absl::InvalidArgumentError(
          absl::StrCat("--masks=", path, ": ", spec.node, ".mask has another shape than the network's convolution"));
    }
    const at::Tensor filters = mask.amax({1, 2, 3}, /*keepdim=*/true);
    masks[spec.node] = at::equal(filters.expand_as(mask), mask) ? filters : mask;
  }
  if (masks.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--masks=", path,
                     ": has no tensor `<conv>.mask` of this network's; give strategy, uniform:0.6 or such a file"));
  }
  return masks;
}

absl::StatusOr<std::map<std::string, at::Tensor>> Masks(const NetworkInfo& network) {
  absl::string_view rate_text = FLAGS_masks;
  if (!absl::ConsumePrefix(&rate_text, "uniform:")) return FileMasks(FLAGS_masks, network);
  double rate = -1;
  if (!absl::SimpleAtod(rate_text, &rate) || !(rate >= 0 && rate < 1)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--masks=", FLAGS_masks, ": the rate must be in [0, 1), as in uniform:0.6"));
  }
  return UniformFilterMasks(network, rate);
}

// A line of /proc/self/status, in bytes; 0 if there is none.
int64_t ProcessMemory(absl::string_view key) {
  std::ifstream file("/proc/self/status");
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (absl::ConsumePrefix(&rest, key)) return 1024 * std::atoll(std::string(rest).c_str() + 1);
  }
  return 0;
}

// Resets the peak of memory to the current use, if the system can.
void ForgetPeakMemory() { std::ofstream("/proc/self/clear_refs") << "5"; }

// Processor time of all threads so far, seconds.
double CpuSeconds() {
  rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) { return static_cast<double>(time.tv_sec) + 1e-6 * time.tv_usec; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

absl::Status CheckAtLeastOne(absl::string_view flag, int64_t value) {
  if (value >= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(flag, "=", value, ": must be at least 1"));
}

absl::StatusOr<at::ScalarType> Dtype() {
  if (FLAGS_dtype == "float32") return at::kFloat;
  if (FLAGS_dtype != "float64") {
    return absl::InvalidArgumentError(absl::StrCat("--dtype=", FLAGS_dtype, ": must be float32 or float64"));
  }
  if (FLAGS_precision != "float32") {
    return absl::InvalidArgumentError(
        absl::StrCat("--dtype=float64: goes with --precision=float32, not with ", FLAGS_precision));
  }
  return at::kDouble;
}

absl::StatusOr<Training::Precision> Precision(at::Device device) {
  Training training;
  Training::Precision precision;
  if (!Training::Precision_Parse(absl::AsciiStrToUpper(FLAGS_precision), &precision)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--precision=", FLAGS_precision, ": must be float32, bfloat16 or tf32"));
  }
  training.set_precision(precision);
  const absl::Status native = CheckPrecision(training, device);
  if (!native.ok()) return absl::InvalidArgumentError(absl::StrCat("--precision: ", ErrorText(native)));
  return training.precision();
}

// Synchronizes with a GPU.
void WaitFor(at::Device device) {
  if (device.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(device.has_index() ? device.index() : 0);
}

// The peak of a GPU's memory since the last call.
int64_t PeakDeviceMemory(at::Device device) {
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  const c10::DeviceIndex index = device.has_index() ? device.index() : 0;
  const int64_t peak = allocator->getDeviceStats(index).reserved_bytes[0].peak;  // of both small and large blocks
  allocator->resetPeakStats(index);
  return peak;
}

absl::StatusOr<Dataset> SyntheticData(const NetworkInfo& network, int64_t batches) {
  const NodeShape& image = network.input_shape();
  if (image.height != image.width) return absl::InvalidArgumentError("--network: takes images that are not square");
  Synthetic parameters;
  parameters.set_classes(network.classes());
  parameters.set_channels(image.channels);
  parameters.set_image_size(image.height);
  parameters.set_train_images(std::max(network.classes(), FLAGS_batch * batches));
  parameters.set_test_images(1);
  google::protobuf::Any any;
  any.PackFrom(parameters);
  return OpenDataset(any);
}

// Counts what another recorder records, and how often that is replayed.
class CountingRecorder : public Recorder {
 public:
  struct Counts {
    int64_t recordings = 0, replays = 0;
  };

  // `counts` outlives what is recorded.
  CountingRecorder(std::unique_ptr<Recorder> recorder, Counts* counts)
      : recorder_(std::move(recorder)), counts_(counts) {}

  void Run(const std::function<void()>& work) override { recorder_->Run(work); }

  absl::StatusOr<std::unique_ptr<Recording>> Record(const std::function<void()>& work) override {
    PRUNELAB_ASSIGN_OR_RETURN(std::unique_ptr<Recording> recording, recorder_->Record(work));
    ++counts_->recordings;
    return std::make_unique<CountingRecording>(std::move(recording), counts_);
  }

 private:
  class CountingRecording : public Recording {
   public:
    CountingRecording(std::unique_ptr<Recording> recording, Counts* counts)
        : recording_(std::move(recording)), counts_(counts) {}
    void Replay() override {
      ++counts_->replays;
      recording_->Replay();
    }

   private:
    const std::unique_ptr<Recording> recording_;
    Counts* const counts_;
  };

  const std::unique_ptr<Recorder> recorder_;
  Counts* const counts_;
};

// What the process and its GPU hold now, in bytes. `device_bytes`: the device's memory that is not free, of all
// processes, so that it includes what CUDA keeps for graphs.
Json MemoryHeld(at::Device device) {
  Json json;
  json["process_bytes"] = ProcessMemory("VmRSS:");
  if (!device.is_cuda()) return json;
  c10::DeviceAllocator* allocator = c10::getDeviceAllocator(device.type());
  const c10::DeviceIndex index = device.has_index() ? device.index() : 0;
  const auto [free, total] = allocator->getMemoryInfo(index);
  json["reserved_bytes"] = allocator->getDeviceStats(index).reserved_bytes[0].current;
  json["device_bytes"] = total - free;
  return json;
}

// Gives uniform masks, or those of a file, another shape every few steps: of whole filters and of single weights, in
// turns. Which weights are masked stays the same.
class ShapeChanges {
 public:
  explicit ShapeChanges(at::Device device) : device_(device) {}

  // To be called after each step.
  void OnStep(Model& model) {
    if (FLAGS_new_shapes_every == 0 || ++steps_ % FLAGS_new_shapes_every != 0) return;
    memory_.push_back(MemoryHeld(device_));
    std::map<std::string, at::Tensor> masks;
    for (const auto& [node, mask] : model.masks()) {
      const bool whole_filters = mask.numel() == mask.size(0);
      const at::Tensor weight = model.Get(absl::StrCat(node, ".weight")).detach();
      masks[node] = whole_filters ? mask.expand_as(weight).contiguous() : mask.amax({1, 2, 3}, /*keepdim=*/true);
    }
    model.SetMasks(masks);
  }

  const std::vector<Json>& memory() const { return memory_; }

 private:
  const at::Device device_;
  int64_t steps_ = 0;
  std::vector<Json> memory_;  // before each change
};

// In which steps the host waits for the device.
class WaitingSteps {
 public:
  explicit WaitingSteps(at::Device device) {
    if (FLAGS_count_waits) watch_.emplace(device.type());
  }

  // To be called after each step. Of a step that is not `timed` nothing is counted.
  void OnStep(bool timed, const Model& model) {
    if (!watch_) return;
    const std::map<std::string, int64_t> calls = watch_->counts();
    const bool waited = calls != calls_, updated = MasksChanged(model);
    if (timed) {
      ++steps_;
      if (updated) ++updates_;
      if (waited) ++waiting_;
      if (waited && !updated) ++waiting_without_update_;
      for (const auto& [name, count] : calls) {
        const int64_t more = count - calls_[name];
        if (more > 0) found_[name] += more;
      }
    }
    calls_ = calls;
  }

  Json ToJson() const {
    return {{"steps", steps_},
            {"steps_with_updates", updates_},
            {"waiting_steps", waiting_},
            {"waiting_steps_without_update", waiting_without_update_},
            {"calls", found_}};
  }

 private:
  // Whether the masks were set, or written to, since the last step; reads no value.
  bool MasksChanged(const Model& model) {
    std::map<std::string, std::pair<at::Tensor, int64_t>> masks;
    for (const auto& [node, mask] : model.masks()) masks[node] = {mask, mask._version()};
    const bool same =
        masks.size() == masks_.size() &&
        std::equal(masks.begin(), masks.end(), masks_.begin(), [](const auto& a, const auto& b) {
          return a.first == b.first && a.second.first.is_same(b.second.first) && a.second.second == b.second.second;
        });
    masks_ = std::move(masks);
    return !same;
  }

  std::optional<WaitingCallsWatch> watch_;
  std::map<std::string, int64_t> calls_, found_;                 // up to the last step; of timed steps
  std::map<std::string, std::pair<at::Tensor, int64_t>> masks_;  // after the last step, with their versions
  int64_t steps_ = 0, updates_ = 0, waiting_ = 0, waiting_without_update_ = 0;
};

// Times the steps of a training, which reports each step. Steps of the warm-up are not counted.
class StepTimer {
 public:
  explicit StepTimer(at::Device device) : device_(device), warm_up_(device.is_cuda() ? kWarmUpOnDevice : kWarmUp) {}

  // How many steps the training must have. A GPU's last step waits for what is measured, and is not like the others.
  int64_t steps_needed() const { return warm_up_ + FLAGS_steps + (device_.is_cuda() ? 1 : 0); }

  // To be called right before the first step.
  void Start() {
    ForgetPeakMemory();
    before_ = device_.is_cuda() ? 0 : ProcessMemory("VmRSS:");
    if (device_.is_cuda()) PeakDeviceMemory(device_);  // ignored
  }

  void OnStep() {
    ++steps_;
    if (device_.is_cuda()) {
      if (steps_ != warm_up_ && steps_ != warm_up_ + FLAGS_steps) return;
      WaitFor(device_);
    }
    const double now = SteadySeconds(), cpu = CpuSeconds();
    if (steps_ > warm_up_ && steps_ <= warm_up_ + FLAGS_steps) {
      const double count = static_cast<double>(device_.is_cuda() ? FLAGS_steps : 1);
      seconds_.push_back((now - last_) / count);
      cpu_seconds_.push_back((cpu - last_cpu_) / count);
    }
    if (!device_.is_cuda()) peak_ = ProcessMemory("VmHWM:");
    last_cpu_ = CpuSeconds();
    last_ = SteadySeconds();
  }

  // To be called after the last step.
  void End() {
    if (device_.is_cuda()) peak_ = PeakDeviceMemory(device_);
  }

  // Whether the step just done is one of those that are timed.
  bool timed() const { return steps_ > warm_up_ && steps_ <= warm_up_ + FLAGS_steps; }
  double seconds() const { return Median(seconds_); }  // of a step
  double cpu_seconds() const { return Median(cpu_seconds_); }
  int64_t peak_bytes() const { return peak_ - before_; }

 private:
  const at::Device device_;
  const int64_t warm_up_;
  std::vector<double> seconds_, cpu_seconds_;  // of each step
  double last_ = 0, last_cpu_ = 0;
  int64_t steps_ = 0, before_ = 0, peak_ = 0;
};

absl::StatusOr<NetworkInfo> NetworkOfFlags() {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any network, Plugin("--network", FLAGS_network, NoPruning()));
  absl::StatusOr<Network> built = BuildNetwork(network, {});
  if (!built.ok()) return WithPrefix("--network", built.status());
  return NetworkInfo::Create(*std::move(built));
}

absl::StatusOr<Training> TrainingOfFlags(at::Device device) {
  Training training;
  training.set_epochs(1);
  training.set_batch_size(FLAGS_batch);
  training.set_skipping(FLAGS_skipping);
  training.set_cuda_graphs(FLAGS_cuda_graphs);
  PRUNELAB_ASSIGN_OR_RETURN(const Training::Precision precision, Precision(device));
  training.set_precision(precision);
  if (!(FLAGS_learning_rate > 0 && std::isfinite(FLAGS_learning_rate))) {
    return absl::InvalidArgumentError(
        absl::StrCat("--learning_rate=", FLAGS_learning_rate, ": must be above 0, and finite"));
  }
  training.mutable_sgd()->set_learning_rate(FLAGS_learning_rate);
  training.mutable_sgd()->set_momentum(0.9);
  training.mutable_sgd()->set_weight_decay(1e-4);
  return training;
}

// Sets the strategy and the regularizer that the flags name.
absl::Status ChoosePlugins(const NetworkInfo& network, TrainingSetup* setup) {
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any pruning, Plugin("--pruning", FLAGS_pruning, NoPruning()));
  absl::StatusOr<std::unique_ptr<PruningStrategy>> strategy = CreatePruningStrategy(pruning, {&network, setup->seed});
  if (!strategy.ok()) return WithPrefix("--pruning", strategy.status());
  setup->strategy = *std::move(strategy);
  if (FLAGS_masks != "strategy") setup->strategy = std::make_unique<UpdatesPutAside>(std::move(setup->strategy));
  PRUNELAB_ASSIGN_OR_RETURN(const google::protobuf::Any regularizer,
                            Plugin("--regularizer", FLAGS_regularizer, NoRegularizer()));
  absl::StatusOr<std::unique_ptr<Regularizer>> penalty = CreateRegularizer(regularizer, network);
  if (!penalty.ok()) return WithPrefix("--regularizer", penalty.status());
  setup->regularizer = *std::move(penalty);
  setup->penalty_weight = FLAGS_regularizer.empty() ? 0 : kPenaltyWeight;
  return absl::OkStatus();
}

Json Measurements(const StepTimer& timer, const Trainer& trainer, const EpochRecord& record, const std::string& plan) {
  Json json;
  json["milliseconds"] = 1e3 * timer.seconds();
  json["images_per_second"] = static_cast<double>(FLAGS_batch) / timer.seconds();
  json["cpu_milliseconds"] = 1e3 * timer.cpu_seconds();
  json["peak_bytes"] = timer.peak_bytes();
  json["plan"] = plan;
  json["skipping"] = plan == "skipping";
  json["precision"] = absl::AsciiStrToLower(FLAGS_precision);
  if (FLAGS_dtype != "float32") json["dtype"] = FLAGS_dtype;
  json["loss"] = record.measures.train_loss();
  json["executed_macs"] = trainer.executed_macs();
  json["dense_macs"] = DenseTrainingMacs(trainer.model().info());
  json["masks"] = FLAGS_masks;
  json["filter_sparsity"] = record.measures.filter_sparsity();
  json["batch"] = FLAGS_batch;
  json["threads"] = FLAGS_threads;
  json["steps"] = FLAGS_steps;
  json["device"] = trainer.model().device().str();
  json["cpu_capability"] = at::get_cpu_capability();
  return json;
}

// What the flags say, for a training of `steps` steps an epoch. Outlives its trainer.
struct Work {
  TrainingSetup setup;
  std::unique_ptr<CountingRecorder::Counts> recorded = std::make_unique<CountingRecorder::Counts>();
  std::unique_ptr<Dataset> dataset;  // the setup's
  std::map<std::string, at::Tensor> masks;
  std::string plan;
};

absl::StatusOr<Work> WorkOfFlags(at::Device device, int64_t steps) {
  Work work;
  TrainingSetup& setup = work.setup;
  setup.seed = 1;
  setup.device = device;
  PRUNELAB_ASSIGN_OR_RETURN(setup.dtype, Dtype());
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, NetworkOfFlags());
  setup.network = network;
  PRUNELAB_ASSIGN_OR_RETURN(Dataset dataset, SyntheticData(network, steps));
  work.dataset = std::make_unique<Dataset>(std::move(dataset));
  setup.dataset = work.dataset.get();
  setup.on_warning = [](const std::string& warning) { std::cerr << "step_benchmark: " << warning << "\n"; };
  PRUNELAB_ASSIGN_OR_RETURN(setup.config, TrainingOfFlags(device));
  work.plan = StepPlanName(setup.config, device);
  if (device.is_cuda() && FLAGS_cuda_graphs) {
    setup.recorder = std::make_unique<CountingRecorder>(MakeCudaGraphRecorder(device), work.recorded.get());
  }
  PRUNELAB_RETURN_IF_ERROR(ChoosePlugins(network, &setup));
  if (FLAGS_masks != "strategy") {
    PRUNELAB_ASSIGN_OR_RETURN(work.masks, Masks(network));
  } else if (FLAGS_new_shapes_every > 0) {
    return absl::InvalidArgumentError("--new_shapes_every: changes uniform masks or a file's; give --masks too");
  }
  return work;
}

absl::StatusOr<Json> Measure(at::Device device) {
  StepTimer timer(device);
  ShapeChanges shapes(device);
  WaitingSteps waits(device);
  PRUNELAB_ASSIGN_OR_RETURN(Work work, WorkOfFlags(device, timer.steps_needed()));
  std::unique_ptr<Trainer> trainer;
  work.setup.on_step = [&](const StepProgress&) {
    timer.OnStep();
    waits.OnStep(timer.timed(), trainer->model());
    shapes.OnStep(trainer->model());
  };
  PRUNELAB_ASSIGN_OR_RETURN(trainer, Trainer::Create(std::move(work.setup)));
  trainer->model().SetMasks(work.masks);
  timer.Start();
  PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer->RunEpoch());
  timer.End();
  if (record.diverged) return absl::InternalError("the training diverged");
  Json json = Measurements(timer, *trainer, record, work.plan);
  if (FLAGS_count_waits) json["waits"] = waits.ToJson();
  if (FLAGS_new_shapes_every > 0) {
    json["memory"] = shapes.memory();
    json["recordings"] = work.recorded->recordings;
    json["replays"] = work.recorded->replays;
  }
  return json;
}

absl::StatusOr<std::vector<int64_t>> StepsToSave() {
  std::vector<int64_t> steps;
  for (const absl::string_view part : absl::StrSplit(FLAGS_save_after, ',')) {
    int64_t step = 0;
    if (!absl::SimpleAtoi(part, &step) || step <= (steps.empty() ? 0 : steps.back())) {
      return absl::InvalidArgumentError(
          absl::StrCat("--save_after=", FLAGS_save_after, ": must be steps from 1 on and ascending, as in 1,24"));
    }
    steps.push_back(step);
  }
  if (FLAGS_save_to.empty()) {
    return absl::InvalidArgumentError("--save_after: goes with --save_to=FOLDER, where the states are written");
  }
  return steps;
}

// Trains up to the last step that is to be saved. The epoch has one more, because its last step is unlike the others.
absl::StatusOr<Json> SaveStates(at::Device device) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<int64_t> steps, StepsToSave());
  PRUNELAB_ASSIGN_OR_RETURN(Work work, WorkOfFlags(device, steps.back() + 1));
  std::unique_ptr<Trainer> trainer;
  absl::Status written;
  std::vector<std::string> files;
  work.setup.stop = [&] {
    const int64_t done = trainer->iteration();
    if (std::find(steps.begin(), steps.end(), done) != steps.end()) {
      files.push_back(JoinPath(UserPath(FLAGS_save_to), absl::StrCat("step", done, ".safetensors")));
      written.Update(WriteSafetensors(files.back(), trainer->SaveState()));
    }
    return done == steps.back() || !written.ok();
  };
  PRUNELAB_ASSIGN_OR_RETURN(trainer, Trainer::Create(std::move(work.setup)));
  trainer->model().SetMasks(work.masks);
  const absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
  PRUNELAB_RETURN_IF_ERROR(written);
  if (record.ok()) return absl::InternalError(absl::StrCat("the training diverged: ", record->divergence));
  if (!absl::IsCancelled(record.status())) return record.status();
  Json json;
  json["saved"] = files;
  json["recordings"] = work.recorded->recordings;
  json["replays"] = work.recorded->replays;
  json["plan"] = work.plan;
  json["device"] = trainer->model().device().str();
  return json;
}

absl::StatusOr<Json> DoWork() {
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--batch", FLAGS_batch));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--steps", FLAGS_steps));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--threads", FLAGS_threads));
  at::set_num_threads(FLAGS_threads);
  PRUNELAB_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(FLAGS_device));
  return FLAGS_save_after.empty() ? Measure(device) : SaveStates(device);
}

int Main() {
  const absl::StatusOr<Json> json = DoWork();
  if (!json.ok()) return ExitStatus(json.status());
  if (FLAGS_json) {
    std::cout << json->dump() << "\n";
  } else {
    for (const auto& [key, value] : json->items()) std::cout << key << "  " << value.dump() << "\n";
  }
  return 0;
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::SetUpTrainingProcess(argv);
  return prunelab::RunMain("times training steps on synthetic data", argc, argv, prunelab::Main);
}
