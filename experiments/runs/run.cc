#include "experiments/runs/run.h"

#include <ATen/Parallel.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "experiments/config/identity.h"
#include "experiments/config/phases.h"
#include "experiments/config/run_network.h"
#include "experiments/config/source_arm.h"
#include "experiments/runs/further.h"
#include "experiments/runs/initial_weights.h"
#include "experiments/runs/provenance.h"
#include "experiments/runs/removal.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/runs/run_events.h"
#include "experiments/runs/run_in_folder.h"
#include "experiments/runs/teacher.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/group_ranking_config.h"
#include "ml/distributed/ranks.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"
#include "ml/network/compactors.h"
#include "ml/network/value_grids.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/quantization/quantized_training.h"
#include "ml/regularizers/regularizer.h"
#include "ml/safetensors/safetensors.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

// In a run's folder.
constexpr char kQuantizedFile[] = "quantized.safetensors", kStartFile[] = "start.safetensors";

// A run with what it is computed from.
struct RunSetup {
  const RunRequest& request;
  const RunHooks& hooks;
  const Dataset& dataset;
  Ranks* ranks;  // null: this process trains alone
  at::Device device;
  NetworkInfo network;
  InitialWeights weights;           // of the network, all of them, or none
  std::string weights_name;         // for messages: where they come from
  std::optional<RunResult> source;  // of the run that comes before, where this process keeps the files
  RunTeacher teacher;               // on the device

  // What the run is computed from.
  RunSources sources;

  int64_t epochs() const { return request.config().training().epochs(); }
};

// The run's network. The folder of the run whose shape it may take is rank 0's.
absl::StatusOr<NetworkInfo> NetworkOf(const RunRequest& request, const Dataset& dataset, Ranks* ranks) {
  if (!request.config().has_from_scratch()) return BuildRunNetwork(request.config(), dataset.info);
  if (ranks == nullptr) return RemovedShape(request.source_folder());
  std::string bytes;
  if (ranks->first()) {
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo shape, RemovedShape(request.source_folder()));
    bytes = shape.network().SerializeAsString();
  }
  Network network;
  if (!network.ParseFromString(ranks->OfFirst(bytes))) return absl::InternalError("rank 0 has sent no network");
  return NetworkInfo::Create(network);
}

// The result of the run that this one starts from, or whose shape it takes. What is in its folder must be that run: a
// longer one may have been left beside it, half in its place.
absl::StatusOr<RunResult> SourceResult(const RunRequest& request) {
  PRUNELAB_ASSIGN_OR_RETURN(RunResult source, ReadResult(request.source_folder()));
  if (source.status == "done" && source.run_id == request.source_run_id()) return source;
  return absl::FailedPreconditionError(absl::StrCat(request.source_folder(), ": its run is not the one that this one ",
                                                    SourceVerb(request.config()), " any more; run that arm again"));
}

// StartOf. Where images decide what is removed, rounding decides between groups that are as good as equal, and another
// machine, or another number of threads, may round in another way. So then the start is kept in the run's folder until
// the run has ended, and a run that goes on elsewhere goes on with the same network.
absl::StatusOr<Safetensors> KeptStart(const RunRequest& request, const Dataset& dataset) {
  const StartFrom& start = request.config().start_from();
  const RemovalImages images = {&dataset, &request.config().training()};
  if (!start.has_removal() || !LooksAtImages(start.removal().groups())) {
    return StartOf(start, images, request.seed(), request.source_folder());
  }
  constexpr char kOf[] = "run_id";
  const std::string path = JoinPath(request.folder(), kStartFile);
  if (PathExists(path)) {
    absl::StatusOr<Safetensors> kept = ReadSafetensors(path);
    if (kept.ok() && kept->metadata[kOf] == request.run_id()) {
      kept->metadata.erase(kOf);
      return kept;
    }
  }
  PRUNELAB_ASSIGN_OR_RETURN(Safetensors made, StartOf(start, images, request.seed(), request.source_folder()));
  made.metadata[kOf] = request.run_id();
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(request.folder()));
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(path, made));
  made.metadata.erase(kOf);
  return made;
}

// What a run with `start_from` starts from. The folder of the other run is rank 0's.
absl::StatusOr<Safetensors> StartOfOther(const RunRequest& request, const Dataset& dataset, Ranks* ranks) {
  if (ranks == nullptr) return KeptStart(request, dataset);
  std::string bytes;
  if (ranks->first()) {
    PRUNELAB_ASSIGN_OR_RETURN(const Safetensors file, KeptStart(request, dataset));
    bytes = SerializeSafetensors(file);
  }
  return ParseSafetensors(ranks->OfFirst(bytes), request.source_folder());
}

// Refuses a network that another run ended with if it takes other images, or tells other classes apart, than `own`, the
// one that this run's config describes.
absl::Status CheckStartFits(const NetworkInfo& start, const NetworkInfo& own) {
  if (IsQuantized(start.network())) {
    return FieldError("start_from.arm", "ends with a quantized network, and training moves weights off their grids");
  }
  const NodeShape &images = start.input_shape(), &ours = own.input_shape();
  if (images.channels == ours.channels && images.height == ours.height && images.width == ours.width &&
      start.classes() == own.classes()) {
    return absl::OkStatus();
  }
  return FieldError("start_from.arm",
                    absl::StrCat("ends with a network for images of ", images.channels, "x", images.height, "x",
                                 images.width, " and ", start.classes(), " classes, and this run's have ",
                                 ours.channels, "x", ours.height, "x", ours.width, " and ", own.classes(), " classes"));
}

absl::StatusOr<RunSetup> SetUpRun(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks,
                                  Ranks* ranks) {
  std::optional<RunResult> source;
  if (HasSource(request.config()) && (ranks == nullptr || ranks->first())) {
    PRUNELAB_ASSIGN_OR_RETURN(source, SourceResult(request));
  }
  PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo network, NetworkOf(request, dataset, ranks));
  PRUNELAB_ASSIGN_OR_RETURN(InitialWeights weights, ReadInitialWeights(request.config()));
  const at::Device device(request.device() == "cuda" ? at::kCUDA : at::kCPU);
  absl::StatusOr<RunTeacher> teacher = ReadTeacher(request.config().training(), device);
  if (!teacher.ok()) return InField(kTeacherField, teacher.status());
  // Before anything is made of these: the start of a run may be kept under its run_id.
  const RunSources sources = {dataset.fingerprint, weights.digest, teacher->digest, request.source_run_id()};
  if (FullRunId(request.config(), request.seed(), sources) != request.run_id()) {
    return absl::FailedPreconditionError(
        absl::StrCat(request.folder(),
                     ": the data, the initial weights or the teacher have changed since the ablation was started"));
  }
  std::string weights_name = request.config().initial_weights();
  if (request.config().has_start_from()) {
    PRUNELAB_ASSIGN_OR_RETURN(weights.tensors, StartOfOther(request, dataset, ranks));
    weights_name = request.source_folder();
    PRUNELAB_ASSIGN_OR_RETURN(NetworkInfo start, StoredNetwork(weights.tensors->metadata, weights_name));
    PRUNELAB_RETURN_IF_ERROR(CheckStartFits(start, network));
    PRUNELAB_ASSIGN_OR_RETURN(network, WithCompactorsOf(request.config(), std::move(start)));
  }
  RunSetup setup = {request,
                    hooks,
                    dataset,
                    ranks,
                    device,
                    std::move(network),
                    std::move(weights),
                    std::move(weights_name),
                    std::move(source),
                    *std::move(teacher),
                    sources};
  if (setup.weights.tensors) {
    PRUNELAB_ASSIGN_OR_RETURN(setup.weights.tensors,
                              StartingWeights(request.config(), request.seed(), *setup.weights.tensors, setup.network));
  }
  return setup;
}

// Trains a run in its folder, from where its checkpoint left it to its result.
class RunTraining {
 public:
  RunTraining(const RunSetup& setup, RunInFolder& run)
      : setup_(setup), config_(setup.request.config()), run_(run), phases_(PhasesOf(config_)) {}

  absl::StatusOr<RunResult> Train() {
    PRUNELAB_RETURN_IF_ERROR(run_.TakeUp());
    PRUNELAB_RETURN_IF_ERROR(Paused(static_cast<int64_t>(run_.records().size())));
    for (size_t i = run_.phase(); i < phases_.size() && failure_.empty() && !diverged_; ++i) {
      PRUNELAB_RETURN_IF_ERROR(StartPhase(i));
      PRUNELAB_RETURN_IF_ERROR(TrainPhase(phases_[i]));
    }
    // What follows is the first rank's alone. A failure may be one rank's, so there is nothing more to do together.
    if (setup_.ranks != nullptr && failure_.empty()) setup_.ranks->Leave();
    if (setup_.ranks != nullptr && !failure_.empty()) setup_.ranks->Abandon(failure_);
    RunResult result = Result();
    if (!run_.keeps_files()) return result;
    WarnOfNoMasks(result);
    PRUNELAB_RETURN_IF_ERROR(Remove(result));
    PRUNELAB_RETURN_IF_ERROR(WriteQuantized(result));
    PRUNELAB_RETURN_IF_ERROR(Leave(result));
    return result;
  }

 private:
  absl::StatusOr<TrainingSetup> SetUpTraining(const RunPhase& phase) const {
    TrainingSetup setup;
    setup.network = setup_.network;
    setup.dataset = &setup_.dataset;
    setup.config = phase.training;
    setup.penalty_weight = phase.regularization.weight();
    if (phase.regularization.has_growth()) setup.penalty_growth = phase.regularization.growth();
    setup.seed = static_cast<uint64_t>(setup_.request.seed());
    setup.device = setup_.device;
    setup.first_epoch = phase.first_epoch;
    setup.initial_weights = setup_.weights.tensors;
    setup.initial_weights_name = setup_.weights_name;
    setup.teacher = setup_.teacher.model;
    setup.ranks = setup_.ranks;
    PruningSetup pruning;
    pruning.network = &setup.network;
    pruning.seed = setup.seed;
    PRUNELAB_ASSIGN_OR_RETURN(setup.strategy, CreatePruningStrategy(phase.pruning, pruning));
    PRUNELAB_ASSIGN_OR_RETURN(setup.regularizer, CreateRegularizer(phase.regularization.regularizer(), setup.network));
    return setup;
  }

  // Creates the phase's trainer, which continues from the previous phase, or from the checkpoint.
  absl::Status StartPhase(size_t index) {
    const RunPhase& phase = phases_[index];
    PRUNELAB_ASSIGN_OR_RETURN(TrainingSetup setup, SetUpTraining(phase));
    setup.on_step = [this](const StepProgress& step) { OnStep(step); };
    setup.on_warning = [this](const std::string& warning) { run_.Warn(warning); };
    setup.stop = [this] { return !checkpointed_.ok() || (setup_.hooks.stop && setup_.hooks.stop()); };
    if (trainer_) setup.continued_from = NetworkState(trainer_->model());
    if (trainer_ && trainer_->quantizer() != nullptr) setup.continued_ranges = trainer_->quantizer()->ranges();
    run_.set_phase(index);
    if (phase.rewind_to_epoch == 0) {
      setup.rewind_to_start = true;  // every trainer initializes the network as before any training
    } else if (phase.rewind_to_epoch) {
      setup.rewind_to = run_.kept(*phase.rewind_to_epoch);
    }
    PRUNELAB_ASSIGN_OR_RETURN(trainer_, Trainer::Create(std::move(setup)));
    PRUNELAB_RETURN_IF_ERROR(run_.LoadState(*trainer_));
    epoch_images_ = trainer_->images();
    if (events_ || !run_.keeps_files()) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(events_, RunEvents::Create(run_.folder(), setup_.request.arm(), setup_.request.seed(),
                                                         setup_.epochs(), phase.first_epoch + trainer_->epoch()));
    return absl::OkStatus();
  }

  void OnStep(const StepProgress& step) {
    run_.CountImages(step.images - epoch_images_);
    epoch_images_ = step.images;
    // After the last step there is always one: from before what comes at a run's end, it can be trained further.
    const bool last = step.epoch + 1 == setup_.epochs() && step.iteration + 1 == step.iterations_per_epoch;
    if (last || run_.seconds_since_checkpoint() >= 60 * config_.training().checkpoint_minutes()) {
      checkpointed_ = run_.Checkpoint(*trainer_);
    }
    if (!setup_.hooks.on_progress) return;
    RunProgress progress;
    progress.set_epoch(step.epoch);
    progress.set_epochs(setup_.epochs());
    progress.set_iteration(step.iteration + 1);
    progress.set_iterations_per_epoch(step.iterations_per_epoch);
    progress.set_images(run_.images());
    progress.set_images_left((last_epoch() - step.epoch) * trainer_->train_images() - step.images);
    if (run_.last_test_top1()) progress.set_test_top1(*run_.last_test_top1());
    setup_.hooks.on_progress(progress);
  }

  // Trains the epochs of the phase that are left, unless one diverges or fails.
  absl::Status TrainPhase(const RunPhase& phase) {
    while (trainer_->epoch() < phase.training.epochs() && failure_.empty() && !diverged_) {
      PRUNELAB_RETURN_IF_ERROR(TrainEpoch(phase));
    }
    return absl::OkStatus();
  }

  absl::Status TrainEpoch(const RunPhase& phase) {
    absl::StatusOr<EpochRecord> record = trainer_->RunEpoch();
    PRUNELAB_RETURN_IF_ERROR(checkpointed_);
    if (absl::IsCancelled(record.status())) {
      PRUNELAB_RETURN_IF_ERROR(run_.AddTimingOfPart(phase.first_epoch + trainer_->epoch()));
      PRUNELAB_RETURN_IF_ERROR(run_.Checkpoint(*trainer_));
      return record.status();
    }
    // Images that cannot be read now: the run goes on from its last checkpoint.
    if (absl::IsAborted(record.status())) return record.status();
    if (!record.ok()) {
      failure_ = std::string(record.status().message());
      return absl::OkStatus();
    }
    epoch_images_ = 0;
    record->phase = phase.name;
    diverged_ = record->diverged;
    PRUNELAB_RETURN_IF_ERROR(run_.AddRecord(*record));
    if (events_) PRUNELAB_RETURN_IF_ERROR(events_->AddEpoch(*record, trainer_->model()));
    if (diverged_) return absl::OkStatus();
    const int64_t done = phase.first_epoch + trainer_->epoch();
    run_.KeepForRewinding(phases_, done, trainer_->model());
    const int64_t every = config_.training().checkpoint_every();
    const absl::Status paused = Paused(done);
    const bool due = !paused.ok() || (every > 0 && done % every == 0 && done < setup_.epochs());
    if (due) PRUNELAB_RETURN_IF_ERROR(run_.Checkpoint(*trainer_));
    return paused;
  }

  // How far it is trained by this call.
  int64_t last_epoch() const {
    const int64_t pause = setup_.request.pause_after();
    return pause > 0 ? std::min(pause, setup_.epochs()) : setup_.epochs();
  }

  // Cancelled if the run is to go no further for now.
  absl::Status Paused(int64_t done) const {
    if (last_epoch() == setup_.epochs() || done < last_epoch()) return absl::OkStatus();
    return absl::CancelledError(absl::StrCat("paused after ", done, " epochs, as was asked"));
  }

  RunResult Result() const {
    RunResult result = Summarize(run_.records(), setup_.network);
    // What was removed before the first step counts as removed: the dense network is the one that the source had.
    if (config_.has_start_from() && setup_.source) {
      result.measures.set_parameters(setup_.source->measures.parameters());
      result.measures.set_macs(setup_.source->measures.macs());
    } else if (HasCompactors(setup_.network)) {
      const NetworkInfo dense = WithoutCompactors(setup_.network);
      result.measures.set_parameters(dense.ParameterCount());
      result.measures.set_macs(dense.MacCount());
    }
    if (!failure_.empty()) {
      result.status = "failed";
      result.message = failure_;
    }
    result.arm = setup_.request.arm();
    result.seed = setup_.request.seed();
    result.run_id = setup_.request.run_id();
    return result;
  }

  // E.g. by a strategy whose first epoch is after the run's last: this is allowed, so that a long config can be tried
  // briefly.
  void WarnOfNoMasks(const RunResult& result) const {
    if (result.status != "done" || result.measures.weight_sparsity() != 0) return;
    const auto pruning =
        std::find_if(phases_.begin(), phases_.end(), [](const RunPhase& phase) { return IsToMask(phase.pruning); });
    if (pruning == phases_.end()) return;
    run_.Warn(absl::StrCat(AnyTypeName(pruning->pruning), " masked nothing in this run's ", setup_.epochs(),
                           " epochs: look at its epochs and its rate"));
  }

  // Takes dead filters out, where the config asks for it. A network that gives no numbers after that, or cannot be
  // trained on, is in the result.
  absl::Status Remove(RunResult& result) {
    if (result.status != "done" || !config_.has_compression()) return absl::OkStatus();
    RemovalRequest removal;
    removal.config = &config_;
    removal.dataset = &setup_.dataset;
    removal.seed = setup_.request.seed();
    removal.teacher = setup_.teacher.model;
    removal.learning_rate = run_.records().back().measures.learning_rate();
    removal.stop = setup_.hooks.stop;
    removal.on_warning = [this](const std::string& warning) { run_.Warn(warning); };
    const absl::Status removed = RemoveAfterTraining(removal, trainer_->result(), run_.folder(), result);
    // Stopped in the middle, it is done again from the checkpoint after the last step.
    if (removed.ok() || absl::IsCancelled(removed) || absl::IsAborted(removed)) return removed;
    result.status = absl::IsDataLoss(removed) ? "diverged" : "failed";
    result.message = std::string(removed.message());
    return absl::OkStatus();
  }

  // The quantized network, where the config asks for one: that of which the last evaluation is.
  absl::Status WriteQuantized(RunResult& result) const {
    if (result.status != "done" || trainer_->quantizer() == nullptr) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork network, trainer_->quantizer()->Quantized(trainer_->model()));
    const std::string bytes = SerializeSafetensors(ModelToSafetensors(ToModel(network, at::kCPU)));
    result.measures.set_quantized_bytes(static_cast<int64_t>(bytes.size()));
    return WriteFileAtomically(run_.Path(kQuantizedFile), bytes);
  }

  // Writes the run's files. Its result comes last, and after that its checkpoints are not needed any more.
  absl::Status Leave(const RunResult& result) {
    PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(run_.Path("last.safetensors"), ModelToSafetensors(trainer_->result())));
    PRUNELAB_RETURN_IF_ERROR(events_->End(result.status));
    PRUNELAB_RETURN_IF_ERROR(KeepResult(run_.folder(), result).status());
    unlink(JoinPath(setup_.request.folder(), kStartFile).c_str());
    const bool keep = result.status != "failed" && config_.training().keep_state();
    return SettleRunCheckpoints(run_.folder(), keep);
  }

  const RunSetup& setup_;
  const RunConfig& config_;
  RunInFolder& run_;
  const std::vector<RunPhase> phases_;
  std::unique_ptr<Trainer> trainer_;  // of the phase that is trained
  std::optional<RunEvents> events_;
  absl::Status checkpointed_;  // by a step
  int64_t epoch_images_ = 0;   // of the epoch that is trained, also by other processes
  std::string failure_;        // what the training refused, or ""
  bool diverged_ = false;
};

// The result of this very run, where another process has ended it since this one was asked to train it.
absl::StatusOr<std::optional<RunResult>> OwnResult(const RunRequest& request) {
  absl::StatusOr<RunResult> there = ReadResult(request.folder());
  if (!there.ok() || !IsFinished(*there) || there->run_id != request.run_id()) return std::optional<RunResult>();
  // The process may have died before it came to that.
  PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(request.folder(), request.config().training().keep_state()));
  return std::optional<RunResult>(*std::move(there));
}

// If the folder contains a run that this one trains further, prepares a folder within it and lets `run` work there.
// Returns whether it does.
absl::StatusOr<bool> MoveToFurther(const RunSetup& setup, RunInFolder& run) {
  const RunRequest& request = setup.request;
  const auto run_id_of = [&](const RunConfig& config) { return FullRunId(config, request.seed(), setup.sources); };
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<FurtherStart> further,
                            FindStart(request.folder(), request.arm(), request.config(), run_id_of));
  if (!further) return false;
  PRUNELAB_RETURN_IF_ERROR(PrepareFurther(request.folder(), request.config(), request.run_id(), *further));
  run.set_folder(FurtherFolder(request.folder()));
  PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(run.folder()));
  return true;
}

// Writes the files that say what the run is, where no other run has ended.
absl::Status DescribeRun(const RunSetup& setup, const RunInFolder& run) {
  const std::string result = run.Path("result.json"), provenance = run.Path("provenance.json");
  if (const absl::StatusOr<RunResult> there = ReadResult(run.folder()); there.ok() && IsFinished(*there)) {
    return absl::FailedPreconditionError(
        absl::StrCat(result, ": is the finished result of another run, which is not trained over"));
  }
  unlink(result.c_str());  // a failed attempt's result would be mistaken for this one's
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(run.Path("config.textproto"), ResolvedText(setup.request.config())));
  return WriteFileAtomically(
      provenance, ProvenanceText(setup.request, setup.dataset, setup.device, ReadFile(provenance).value_or("")));
}

}  // namespace

int64_t ThreadsForWork(int64_t macs, int64_t threads) {
  constexpr int64_t kSmallStep = 200'000'000;  // about 2 ms on one core
  return macs < kSmallStep ? 1 : threads;
}

namespace {

// What rank 0 tells the others before they begin.
constexpr char kTrain[] = "train", kDone[] = "done";

absl::StatusOr<RunResult> FollowRun(const RunSetup& setup) {
  if (setup.ranks->OfFirst("") == kDone) {
    setup.ranks->Leave();
    return RunResult();
  }
  RunInFolder run(setup.request, setup.hooks, setup.ranks);
  return RunTraining(setup, run).Train();
}

absl::StatusOr<RunResult> TrainWith(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks,
                                    Ranks* ranks) {
  PRUNELAB_ASSIGN_OR_RETURN(const RunSetup setup, SetUpRun(request, dataset, hooks, ranks));
  if (ranks != nullptr && !ranks->first()) return FollowRun(setup);
  RunInFolder run(request, hooks, ranks);
  PRUNELAB_ASSIGN_OR_RETURN(const FileLock lock, TakeRun(run.Path(kRunLock), hooks));
  PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(run.folder()));
  // Where the process that trained it further died after its result.
  if (HoldingFolder(request.folder()) != request.folder()) PRUNELAB_RETURN_IF_ERROR(FinishFurther(request.folder()));
  PRUNELAB_ASSIGN_OR_RETURN(std::optional<RunResult> own, OwnResult(request));
  if (ranks != nullptr) ranks->OfFirst(own ? kDone : kTrain);
  if (own) {
    unlink(JoinPath(request.folder(), kStartFile).c_str());  // that this process has made
    if (ranks != nullptr) ranks->Leave();
    return *std::move(own);
  }
  PRUNELAB_ASSIGN_OR_RETURN(const bool further, MoveToFurther(setup, run));
  PRUNELAB_RETURN_IF_ERROR(DescribeRun(setup, run));
  PRUNELAB_ASSIGN_OR_RETURN(RunResult result, RunTraining(setup, run).Train());
  if (further) PRUNELAB_RETURN_IF_ERROR(FinishFurther(request.folder()));
  return result;
}

RankPlace PlaceOf(const RunRanks& ranks) {
  RankPlace place;
  place.rank = ranks.rank();
  place.ranks = ranks.count();
  place.address = ranks.address();
  place.port = ranks.port();
  place.meeting = ranks.meeting();
  place.silence_seconds = ranks.silence_seconds();
  place.join_seconds = ranks.join_seconds();
  return place;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Ranks>> JoinRanks(const RunRequest& request) {
  if (request.ranks().count() <= 1) return nullptr;
  const at::Device device(request.device() == "cuda" ? at::kCUDA : at::kCPU);
  return Ranks::Join(PlaceOf(request.ranks()), device);
}

absl::StatusOr<RunResult> TrainRun(const RunRequest& request, const Dataset& dataset, const RunHooks& hooks,
                                   Ranks* ranks) {
  at::set_num_threads(static_cast<int>(request.threads()));
  absl::StatusOr<RunResult> result = TrainWith(request, dataset, hooks, ranks);
  if (ranks == nullptr) return result;
  if (absl::IsCancelled(result.status())) {
    ranks->Leave();
  } else if (!result.ok()) {
    ranks->Abandon(std::string(result.status().message()));
  }
  return result;
}

}  // namespace prunelab
