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
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <gflags/gflags.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
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
#include "ml/execution/uniform_masks.h"
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
  training.mutable_sgd()->set_learning_rate(0.1);
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

absl::StatusOr<Json> Measure() {
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--batch", FLAGS_batch));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--steps", FLAGS_steps));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeastOne("--threads", FLAGS_threads));
  at::set_num_threads(FLAGS_threads);
  TrainingSetup setup;
  setup.seed = 1;
  PRUNELAB_ASSIGN_OR_RETURN(setup.device, ChooseDevice(FLAGS_device));
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, NetworkOfFlags());
  setup.network = network;
  StepTimer timer(setup.device);
  PRUNELAB_ASSIGN_OR_RETURN(const Dataset dataset, SyntheticData(network, timer.steps_needed()));
  setup.dataset = &dataset;
  PRUNELAB_ASSIGN_OR_RETURN(setup.config, TrainingOfFlags(setup.device));
  const std::string plan = StepPlanName(setup.config, setup.device);
  PRUNELAB_RETURN_IF_ERROR(ChoosePlugins(network, &setup));
  std::map<std::string, at::Tensor> masks;
  if (FLAGS_masks != "strategy") {
    PRUNELAB_ASSIGN_OR_RETURN(masks, Masks(network));
  }
  setup.on_step = [&](const StepProgress&) { timer.OnStep(); };
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Trainer> trainer, Trainer::Create(std::move(setup)));
  trainer->model().SetMasks(masks);
  timer.Start();
  PRUNELAB_ASSIGN_OR_RETURN(const EpochRecord record, trainer->RunEpoch());
  timer.End();
  if (record.diverged) return absl::InternalError("the training diverged");
  return Measurements(timer, *trainer, record, plan);
}

int Main() {
  const absl::StatusOr<Json> json = Measure();
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
