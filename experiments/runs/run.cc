#include "experiments/runs/run.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/csrc/api/include/torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "experiments/config/config.h"
#include "experiments/config/phases.h"
#include "experiments/runs/further.h"
#include "experiments/runs/removal.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/runs/run_events.h"
#include "ml/base/digest.h"
#include "ml/base/file_lock.h"
#include "ml/base/files.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/step_plan.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "model name"))
      return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
  }
  return "unknown";
}

// What the run computes on. Where it was begun on something else, that is kept under "earlier": such a run is not
// bit-identical to an undisturbed one.
std::string Provenance(const RunRequest& request, const Dataset& dataset, at::Device device,
                       const std::string& existing) {
  Json json;
  json["code_revision"] = request.code_revision;
  json["data_fingerprint"] = dataset.fingerprint;
  json["cpu"] = CpuName();
  json["cpu_capability"] = at::get_cpu_capability();
  json["threads"] = request.threads;
  json["device"] = device.str();
  const Training& training = request.config.training();
  json["plan"] = StepPlanName(training, device);
  if (device.is_cuda()) json["cuda_graphs"] = training.cuda_graphs();
  json["precision"] = training.precision() == Training::BFLOAT16 ? "bfloat16" : "float32";
  json["libtorch"] = TORCH_VERSION;
  json["protobuf"] = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
  Json before = Json::parse(existing, nullptr, /*allow_exceptions=*/false);
  if (before.is_object()) {
    Json earlier = before.contains("earlier") ? before["earlier"] : Json::array();
    before.erase("earlier");
    if (before != json) earlier.push_back(before);
    if (!earlier.empty()) json["earlier"] = earlier;
  }
  return absl::StrCat(json.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

std::string Lines(const std::vector<std::string>& lines) {
  return lines.empty() ? "" : absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
}

// Makes a records file hold `lines` and no more, touching it only where it differs.
absl::Status SetLines(const std::string& path, const std::vector<std::string>& lines) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (lines.empty() && absl::IsNotFound(text.status())) return absl::OkStatus();
  if (text.ok() && *text == Lines(lines)) return absl::OkStatus();
  return WriteFileAtomically(path, Lines(lines));
}

// A copy of the network's tensors and masks.
Safetensors NetworkState(const Model& model) {
  Safetensors state = ModelToSafetensors(model);
  for (auto& [name, tensor] : state.tensors) tensor = tensor.detach().clone();
  state.metadata.clear();
  return state;
}

// A run under way: what TrainRun's steps share.
class RunInFolder {
 public:
  RunInFolder(const RunRequest& request, const RunHooks& hooks)
      : request_(request), hooks_(hooks), folder_(request.folder) {}

  // Where the run's files are: the request's folder, or one within it while another run is trained further.
  const std::string& folder() const { return folder_; }
  void set_folder(const std::string& folder) { folder_ = folder; }
  std::string Path(const char* name) const { return JoinPath(folder_, name); }

  void Warn(const std::string& text) const {
    if (hooks_.on_warning) hooks_.on_warning(text);
  }

  // Finds the run's last whole checkpoint, or clears what an attempt without one left.
  absl::Status TakeUp() {
    std::vector<std::string> warnings;
    std::optional<RunCheckpoint> checkpoint = ReadRunCheckpoint(folder_, request_.run_id, warnings);
    for (const std::string& warning : warnings) Warn(warning);
    if (checkpoint) {
      PRUNELAB_RETURN_IF_ERROR(TakeOutPhases(checkpoint->state));
      lines_ = std::move(checkpoint->records);
      for (const std::string& line : lines_) {
        PRUNELAB_ASSIGN_OR_RETURN(EpochRecord record, ParseEpochLine(line));
        Keep(std::move(record));
      }
      state_ = std::move(checkpoint->state);
    }
    PRUNELAB_RETURN_IF_ERROR(SetLines(Path("epochs.jsonl"), lines_));
    const absl::StatusOr<std::string> timing = ReadFile(Path("timing.jsonl"));
    if (timing.ok()) PRUNELAB_RETURN_IF_ERROR(SetLines(Path("timing.jsonl"), WholeLines(*timing)));
    checkpoint_time_ = epoch_start_ = SteadySeconds();
    return absl::OkStatus();
  }

  // The phase under way, and brings its trainer to where the checkpoint left it, if that is of this phase.
  size_t phase() const { return phase_; }
  void set_phase(size_t phase) { phase_ = phase; }
  absl::Status LoadState(Trainer& trainer) {
    if (!state_) return absl::OkStatus();
    const Safetensors state = *std::exchange(state_, std::nullopt);
    return trainer.LoadState(state, CheckpointName());
  }

  // Keeps the network as it is after `epochs` of the run, where a later phase rewinds to it.
  void KeepForRewinding(const std::vector<RunPhase>& phases, int64_t epochs, const Model& model) {
    const bool needed = std::any_of(phases.begin() + static_cast<std::ptrdiff_t>(phase_), phases.end(),
                                    [&](const RunPhase& phase) { return phase.rewind_to_epoch == epochs; });
    if (needed) kept_.emplace(epochs, NetworkState(model));
  }
  const Safetensors& kept(int64_t epochs) const { return kept_.at(epochs); }

  absl::Status AddRecord(EpochRecord record) {
    const int64_t epoch = record.epoch;
    lines_.push_back(EpochLine(record));
    Keep(std::move(record));
    PRUNELAB_RETURN_IF_ERROR(AppendLine(Path("epochs.jsonl"), lines_.back()));
    // Also where this process trained no image of it: the checkpoint it took up may be of the epoch's last step.
    return AddTiming(epoch);
  }

  // What this process trained of an epoch that it is stopped in.
  absl::Status AddTimingOfPart(int64_t epoch) { return epoch_images_ == 0 ? absl::OkStatus() : AddTiming(epoch); }

  // What this process trained of the epoch since its last line in timing.jsonl.
  absl::Status AddTiming(int64_t epoch) {
    Json timing;
    timing["epoch"] = epoch;
    timing["seconds"] = SteadySeconds() - epoch_start_;
    timing["images"] = epoch_images_;
    PRUNELAB_RETURN_IF_ERROR(AppendLine(Path("timing.jsonl"), WithChecksum(timing.dump())));
    epoch_start_ = SteadySeconds();
    epoch_images_ = 0;
    return absl::OkStatus();
  }

  absl::Status Checkpoint(const Trainer& trainer) {
    checkpoint_time_ = SteadySeconds();
    Safetensors state = trainer.SaveState();
    // For the tools, which take weights and masks from it while the run is under way.
    state.metadata[kNetworkKey] = NetworkText(trainer.model().info().network());
    if (phase_ > 0) state.metadata[kPhaseKey] = absl::StrCat(phase_);
    for (const auto& [epochs, kept] : kept_) {
      for (const auto& [name, tensor] : kept.tensors)
        state.tensors[absl::StrCat(kRewindPrefix, epochs, "/", name)] = tensor;
    }
    return WriteRunCheckpoint(folder_, {std::move(state), lines_, request_.run_id});
  }
  double seconds_since_checkpoint() const { return SteadySeconds() - checkpoint_time_; }

  void CountImages(int64_t images) {
    epoch_images_ += images;
    images_ += images;
  }
  int64_t images() const { return images_; }
  const std::vector<EpochRecord>& records() const { return records_; }
  const std::optional<double>& last_test_top1() const { return last_test_top1_; }  // of the last evaluation

 private:
  std::string CheckpointName() const { return Path("checkpoint"); }

  // Takes what Checkpoint put beside the trainer's state out of it.
  absl::Status TakeOutPhases(Safetensors& state) {
    const auto phase = state.metadata.find(kPhaseKey);
    if (phase != state.metadata.end()) {
      if (!absl::SimpleAtoi(phase->second, &phase_) || phase_ >= PhasesOf(request_.config).size()) {
        return absl::DataLossError(
            absl::StrCat(CheckpointName(), ": is of phase ", phase->second, ", which this run does not have"));
      }
      state.metadata.erase(phase);
    }
    for (auto entry = state.tensors.begin(); entry != state.tensors.end();) {
      absl::string_view rest = entry->first;
      if (!absl::ConsumePrefix(&rest, kRewindPrefix)) {
        ++entry;
        continue;
      }
      const std::pair<std::string, std::string> parts = absl::StrSplit(rest, absl::MaxSplits('/', 1));
      int64_t epochs = 0;
      if (!absl::SimpleAtoi(parts.first, &epochs)) {
        return absl::DataLossError(absl::StrCat(CheckpointName(), ": has a strange tensor ", entry->first));
      }
      kept_[epochs].tensors[parts.second] = entry->second;
      entry = state.tensors.erase(entry);
    }
    return absl::OkStatus();
  }

  void Keep(EpochRecord record) {
    if (record.test) last_test_top1_ = record.test->top1;
    records_.push_back(std::move(record));
  }

  const RunRequest& request_;
  const RunHooks& hooks_;
  std::string folder_;
  std::vector<std::string> lines_;  // of epochs.jsonl
  std::vector<EpochRecord> records_;
  std::optional<Safetensors> state_;  // a trainer's, from the checkpoint
  size_t phase_ = 0;
  std::map<int64_t, Safetensors> kept_;  // networks to rewind to, by epochs done
  std::optional<double> last_test_top1_;
  double checkpoint_time_ = 0, epoch_start_ = 0;
  int64_t epoch_images_ = 0, images_ = 0;
};

// The right to work in a run's folder. A worker dies with its coordinator, but not before the write that it is in the
// middle of, which may take a slow disk some time: whoever goes on from there waits for it. Unavailable if it is held
// for longer: somebody else trains the run.
absl::StatusOr<FileLock> TakeRun(const std::string& path, const RunHooks& hooks) {
  constexpr double kPatience = 20;  // seconds
  for (const double start = SteadySeconds();;) {
    absl::StatusOr<FileLock> lock = FileLock::Take(path, FileLock::Kind::kExclusive);
    if (!absl::IsFailedPrecondition(lock.status())) return lock;
    if (SteadySeconds() - start > kPatience || (hooks.stop && hooks.stop())) {
      return absl::UnavailableError(lock.status().message());
    }
    usleep(50'000);
  }
}

absl::StatusOr<TrainingSetup> SetUp(const RunRequest& request, const RunPhase& phase, const NetworkInfo& network,
                                    const InitialWeights& weights, const Dataset& dataset, at::Device device) {
  TrainingSetup setup;
  setup.network = network;
  setup.dataset = &dataset;
  setup.config = phase.training;
  setup.penalty_weight = phase.regularization.weight();
  setup.seed = static_cast<uint64_t>(request.seed);
  setup.device = device;
  setup.first_epoch = phase.first_epoch;
  setup.initial_weights = weights.tensors;
  setup.initial_weights_name = request.config.initial_weights();
  PruningSetup pruning;
  pruning.network = &setup.network;
  pruning.seed = setup.seed;
  PRUNELAB_ASSIGN_OR_RETURN(setup.strategy, CreatePruningStrategy(phase.pruning, pruning));
  PRUNELAB_ASSIGN_OR_RETURN(setup.regularizer, CreateRegularizer(phase.regularization.regularizer(), setup.network));
  return setup;
}

// What the run starts from: the file's tensors, and for the others those of a run of the same seed without a file.
absl::StatusOr<Safetensors> WholeWeights(const RunRequest& request, const Safetensors& file,
                                         const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(Weights weights, TakeInitialWeights(request.config, file, network));
  if (weights.fresh.empty()) return std::move(weights.file);
  Model fresh = Model::Create(network, at::kFloat, at::kCPU);
  InitializeParameters(fresh, static_cast<uint64_t>(request.seed));
  for (const std::string& name : weights.fresh) weights.file.tensors[name] = fresh.Get(name).detach();
  return std::move(weights.file);
}

}  // namespace

absl::StatusOr<InitialWeights> ReadInitialWeights(const RunConfig& config) {
  InitialWeights weights;
  const std::string& path = config.initial_weights();
  if (path.empty()) return weights;
  const absl::StatusOr<std::string> bytes = ReadFile(UserPath(path), uint64_t{1} << 36);
  if (absl::IsNotFound(bytes.status())) return NoSuchFile(path);
  PRUNELAB_RETURN_IF_ERROR(bytes.status());
  PRUNELAB_ASSIGN_OR_RETURN(weights.tensors, ParseSafetensors(*bytes, path));
  weights.digest = Sha256(*bytes);
  return weights;
}

absl::StatusOr<Weights> TakeInitialWeights(const RunConfig& config, const Safetensors& file,
                                           const NetworkInfo& network) {
  WeightsOptions options;
  options.prefix = config.initial_weights_prefix();
  options.fresh = {config.fresh_weights().begin(), config.fresh_weights().end()};
  options.prefix_setting = "initial_weights_prefix: \"$0\"";
  options.fresh_setting = "fresh_weights: \"$0\"";
  return TakeWeights(file, config.initial_weights(), network, options);
}

std::string FullRunId(const RunConfig& config, int64_t seed, absl::string_view data_fingerprint,
                      absl::string_view weights_digest, absl::string_view source_run_id) {
  std::string data(data_fingerprint);
  if (!weights_digest.empty()) absl::StrAppend(&data, "\ninitial_weights: ", weights_digest);
  if (!source_run_id.empty()) absl::StrAppend(&data, "\nshape of: ", source_run_id);
  return RunId(config, seed, data);
}

int64_t ThreadsForWork(int64_t macs, int64_t threads) {
  constexpr int64_t kSmallStep = 200'000'000;  // about 2 ms on one core
  return macs < kSmallStep ? 1 : threads;
}

absl::StatusOr<RunResult> TrainRun(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks) {
  const at::Device device(request.device == "cuda" ? at::kCUDA : at::kCPU);
  at::set_num_threads(static_cast<int>(request.threads));
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, request.config.has_from_scratch()
                                                           ? RemovedShape(request.source_folder)
                                                           : BuildRunNetwork(request.config, dataset.info));
  PRUNELAB_ASSIGN_OR_RETURN(InitialWeights weights, ReadInitialWeights(request.config));
  const auto run_id_of = [&](const RunConfig& config) {
    return FullRunId(config, request.seed, dataset.fingerprint, weights.digest, request.source_run_id);
  };
  if (run_id_of(request.config) != request.run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat(request.folder, ": the data or the initial weights have changed since the ablation was started"));
  }
  if (weights.tensors) {
    PRUNELAB_ASSIGN_OR_RETURN(weights.tensors, WholeWeights(request, *weights.tensors, network));
  }

  RunInFolder run(request, hooks);
  PRUNELAB_ASSIGN_OR_RETURN(const FileLock lock, TakeRun(run.Path(kRunLock), hooks));
  PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(run.folder()));
  // Where the process that trained it further died behind its result.
  if (HoldingFolder(request.folder) != request.folder) PRUNELAB_RETURN_IF_ERROR(FinishFurther(request.folder));
  // Another process may have ended the run since this one was asked to train it.
  if (const absl::StatusOr<RunResult> there = ReadResult(request.folder);
      there.ok() && IsFinished(*there) && there->run_id == request.run_id) {
    // It may have died before it came to that.
    PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(request.folder, request.config.training().keep_state()));
    return there;
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::optional<FurtherStart> further,
                            FindStart(request.folder, request.arm, request.config, run_id_of));
  if (further) {
    PRUNELAB_RETURN_IF_ERROR(PrepareFurther(request.folder, request.config, request.run_id, *further));
    further->checkpoint.reset();  // a file now
    run.set_folder(FurtherFolder(request.folder));
    PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(run.folder()));
  }
  if (const absl::StatusOr<RunResult> there = ReadResult(run.folder()); there.ok() && IsFinished(*there)) {
    return absl::FailedPreconditionError(
        absl::StrCat(run.Path("result.json"), ": is the finished result of another run, which is not trained over"));
  }
  unlink(run.Path("result.json").c_str());  // a failed attempt's would be taken for this one's
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(run.Path("config.textproto"), ResolvedText(request.config)));
  PRUNELAB_RETURN_IF_ERROR(
      WriteFileAtomically(run.Path("provenance.json"),
                          Provenance(request, dataset, device, ReadFile(run.Path("provenance.json")).value_or(""))));

  const int64_t epochs = request.config.training().epochs();
  const std::vector<RunPhase> phases = PhasesOf(request.config);
  std::unique_ptr<Trainer> trainer;  // of the phase under way
  absl::Status checkpointed;
  int64_t epoch_images = 0;  // of the epoch under way, also by other processes
  const auto on_step = [&](const StepProgress& step) {
    run.CountImages(step.images - epoch_images);
    epoch_images = step.images;
    // Behind the last step there is always one: from before what comes at a run's end, it can be trained further.
    const bool last = step.epoch + 1 == epochs && step.iteration + 1 == step.iterations_per_epoch;
    if (last || run.seconds_since_checkpoint() >= 60 * request.config.training().checkpoint_minutes()) {
      checkpointed = run.Checkpoint(*trainer);
    }
    if (!hooks.on_progress) return;
    RunProgress progress;
    progress.epoch = step.epoch;
    progress.epochs = epochs;
    progress.iteration = step.iteration + 1;
    progress.iterations_per_epoch = step.iterations_per_epoch;
    progress.images = run.images();
    progress.images_left = (epochs - step.epoch) * trainer->train_images() - step.images;
    progress.test_top1 = run.last_test_top1();
    hooks.on_progress(progress);
  };
  const auto stop = [&] { return !checkpointed.ok() || (hooks.stop && hooks.stop()); };
  PRUNELAB_RETURN_IF_ERROR(run.TakeUp());
  std::optional<RunEvents> events;

  std::string failure;
  bool diverged = false;
  for (size_t i = run.phase(); i < phases.size() && failure.empty() && !diverged; ++i) {
    const RunPhase& phase = phases[i];
    PRUNELAB_ASSIGN_OR_RETURN(TrainingSetup setup, SetUp(request, phase, network, weights, dataset, device));
    setup.on_step = on_step;
    setup.stop = stop;
    if (trainer) setup.continued_from = NetworkState(trainer->model());
    run.set_phase(i);
    if (phase.rewind_to_epoch == 0) {
      setup.rewind_to_start = true;  // every trainer makes the network as it was before any training
    } else if (phase.rewind_to_epoch) {
      setup.rewind_to = run.kept(*phase.rewind_to_epoch);
    }
    PRUNELAB_ASSIGN_OR_RETURN(trainer, Trainer::Create(std::move(setup)));
    PRUNELAB_RETURN_IF_ERROR(run.LoadState(*trainer));
    epoch_images = trainer->images();
    if (!events) {
      PRUNELAB_ASSIGN_OR_RETURN(events, RunEvents::Create(run.folder(), request.arm, request.seed, epochs,
                                                          phase.first_epoch + trainer->epoch()));
    }
    while (trainer->epoch() < phase.training.epochs()) {
      absl::StatusOr<EpochRecord> record = trainer->RunEpoch();
      PRUNELAB_RETURN_IF_ERROR(checkpointed);
      if (absl::IsCancelled(record.status())) {
        PRUNELAB_RETURN_IF_ERROR(run.AddTimingOfPart(phase.first_epoch + trainer->epoch()));
        PRUNELAB_RETURN_IF_ERROR(run.Checkpoint(*trainer));
        return record.status();
      }
      if (!record.ok()) {
        failure = std::string(record.status().message());
        break;
      }
      epoch_images = 0;
      record->phase = phase.name;
      diverged = record->diverged;
      PRUNELAB_RETURN_IF_ERROR(run.AddRecord(*record));
      PRUNELAB_RETURN_IF_ERROR(events->AddEpoch(*record, trainer->model()));
      if (diverged) break;
      const int64_t done = phase.first_epoch + trainer->epoch();
      run.KeepForRewinding(phases, done, trainer->model());
      const int64_t every = request.config.training().checkpoint_every();
      if (every > 0 && done % every == 0 && done < epochs) {
        PRUNELAB_RETURN_IF_ERROR(run.Checkpoint(*trainer));
      }
    }
  }
  RunResult result = Summarize(run.records(), network);
  if (!failure.empty()) {
    result.status = "failed";
    result.message = failure;
  }
  result.arm = request.arm;
  result.seed = request.seed;
  result.run_id = request.run_id;
  // E.g. a strategy whose first epoch lies beyond the run's last: allowed, so that a long config can be tried shortly.
  if (result.status == "done" && result.weight_sparsity == 0) {
    const auto prunes = [](const RunPhase& phase) { return AnyTypeName(phase.pruning) != "prunelab.NoPruning"; };
    const auto pruning = std::find_if(phases.begin(), phases.end(), prunes);
    if (pruning != phases.end()) {
      run.Warn(absl::StrCat(AnyTypeName(pruning->pruning), " masked nothing in this run's ", epochs,
                            " epochs: look at its epochs and its rate"));
    }
  }
  if (result.status == "done" && request.config.has_compression()) {
    RemovalRequest removal;
    removal.config = &request.config;
    removal.dataset = &dataset;
    removal.seed = request.seed;
    removal.learning_rate = run.records().back().learning_rate;
    removal.stop = hooks.stop;
    const absl::Status removed = RemoveAfterTraining(removal, trainer->model(), run.folder(), result);
    if (absl::IsCancelled(removed)) return removed;  // it is done again from the checkpoint behind the last step
    if (!removed.ok()) {
      result.status = absl::IsDataLoss(removed) ? "diverged" : "failed";  // the removed network gave no numbers
      result.message = std::string(removed.message());
    }
  }
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(run.Path("last.safetensors"), ModelToSafetensors(trainer->model())));
  PRUNELAB_RETURN_IF_ERROR(events->End(result.status));
  PRUNELAB_RETURN_IF_ERROR(KeepResult(run.folder(), result).status());
  const bool keep = result.status != "failed" && request.config.training().keep_state();
  PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(run.folder(), keep));
  if (further) PRUNELAB_RETURN_IF_ERROR(FinishFurther(request.folder));
  return result;
}

}  // namespace prunelab
