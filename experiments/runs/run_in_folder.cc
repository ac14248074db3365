#include "experiments/runs/run_in_folder.h"

#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "experiments/records/records.h"
#include "experiments/runs/run_checkpoint.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/steady_seconds.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/model.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

std::string Lines(const std::vector<std::string>& lines) {
  return lines.empty() ? "" : absl::StrCat(absl::StrJoin(lines, "\n"), "\n");
}

// Makes a records file contain exactly `lines`, and changes it only where it differs.
absl::Status SetLines(const std::string& path, const std::vector<std::string>& lines) {
  const absl::StatusOr<std::string> text = ReadFile(path);
  if (lines.empty() && absl::IsNotFound(text.status())) return absl::OkStatus();
  if (text.ok() && *text == Lines(lines)) return absl::OkStatus();
  return WriteFileAtomically(path, Lines(lines));
}

}  // namespace

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

Safetensors NetworkState(const Model& model) {
  Safetensors state = ModelToSafetensors(model);
  for (auto& [name, tensor] : state.tensors) tensor = tensor.detach().clone();
  state.metadata.erase(kNetworkKey);
  return state;
}

std::string RunInFolder::Path(const char* name) const { return JoinPath(folder_, name); }

void RunInFolder::Warn(const std::string& text) const {
  if (hooks_.on_warning && keeps_files()) hooks_.on_warning(text);
}

absl::Status RunInFolder::TakeUp() {
  std::vector<std::string> warnings;
  std::optional<RunCheckpoint> checkpoint;
  if (keeps_files()) checkpoint = ReadRunCheckpoint(folder_, request_.run_id(), warnings);
  for (const std::string& warning : warnings) Warn(warning);
  if (ranks_ != nullptr) {
    const std::string bytes = ranks_->OfFirst(checkpoint ? SerializeRunCheckpoint(*checkpoint) : "");
    if (!keeps_files() && !bytes.empty()) {
      PRUNELAB_ASSIGN_OR_RETURN(checkpoint, ParseRunCheckpoint(bytes, "the checkpoint that rank 0 has sent"));
    }
  }
  if (checkpoint) {
    PRUNELAB_RETURN_IF_ERROR(TakeOutPhases(checkpoint->state));
    lines_ = std::move(checkpoint->records);
    for (const std::string& line : lines_) {
      PRUNELAB_ASSIGN_OR_RETURN(EpochRecord record, ParseEpochLine(line));
      Keep(std::move(record));
    }
    state_ = std::move(checkpoint->state);
  }
  checkpoint_time_ = epoch_start_ = SteadySeconds();
  if (!keeps_files()) return absl::OkStatus();
  PRUNELAB_RETURN_IF_ERROR(SetLines(Path("epochs.jsonl"), lines_));
  const absl::StatusOr<std::string> timing = ReadFile(Path("timing.jsonl"));
  if (timing.ok()) PRUNELAB_RETURN_IF_ERROR(SetLines(Path("timing.jsonl"), WholeLines(*timing)));
  return absl::OkStatus();
}

absl::Status RunInFolder::LoadState(Trainer& trainer) {
  if (!state_) return absl::OkStatus();
  const Safetensors state = *std::exchange(state_, std::nullopt);
  return trainer.LoadState(state, CheckpointName());
}

void RunInFolder::KeepForRewinding(const std::vector<RunPhase>& phases, int64_t epochs, const Model& model) {
  const bool needed = std::any_of(phases.begin() + static_cast<std::ptrdiff_t>(phase_), phases.end(),
                                  [&](const RunPhase& phase) { return phase.rewind_to_epoch == epochs; });
  if (needed) kept_.emplace(epochs, NetworkState(model));
}

absl::Status RunInFolder::AddRecord(EpochRecord record) {
  const int64_t epoch = record.epoch;
  lines_.push_back(EpochLine(record));
  Keep(std::move(record));
  if (!keeps_files()) return absl::OkStatus();
  PRUNELAB_RETURN_IF_ERROR(AppendLine(Path("epochs.jsonl"), lines_.back()));
  // Also if this process trained no image of it: the checkpoint that it resumed from may be after the epoch's last
  // step.
  return AddTiming(epoch);
}

absl::Status RunInFolder::AddTimingOfPart(int64_t epoch) {
  return epoch_images_ == 0 || !keeps_files() ? absl::OkStatus() : AddTiming(epoch);
}

absl::Status RunInFolder::AddTiming(int64_t epoch) {
  Json timing;
  timing["epoch"] = epoch;
  timing["seconds"] = SteadySeconds() - epoch_start_;
  timing["images"] = epoch_images_;
  PRUNELAB_RETURN_IF_ERROR(AppendLine(Path("timing.jsonl"), WithChecksum(timing.dump())));
  epoch_start_ = SteadySeconds();
  epoch_images_ = 0;
  return absl::OkStatus();
}

absl::Status RunInFolder::Checkpoint(const Trainer& trainer) {
  checkpoint_time_ = SteadySeconds();
  if (!keeps_files()) return absl::OkStatus();
  Safetensors state = trainer.SaveState();
  // For the tools, which read weights and masks from it while the run is in progress.
  state.metadata[kNetworkKey] = NetworkText(trainer.model().info().network());
  if (phase_ > 0) state.metadata[kPhaseKey] = absl::StrCat(phase_);
  for (const auto& [epochs, kept] : kept_) {
    for (const auto& [name, tensor] : kept.tensors)
      state.tensors[absl::StrCat(kRewindPrefix, epochs, "/", name)] = tensor;
  }
  return WriteRunCheckpoint(folder_, {std::move(state), lines_, request_.run_id()});
}

double RunInFolder::seconds_since_checkpoint() const { return SteadySeconds() - checkpoint_time_; }

void RunInFolder::CountImages(int64_t images) {
  epoch_images_ += images;
  images_ += images;
}

absl::Status RunInFolder::TakeOutPhases(Safetensors& state) {
  const auto phase = state.metadata.find(kPhaseKey);
  if (phase != state.metadata.end()) {
    if (!absl::SimpleAtoi(phase->second, &phase_) || phase_ >= PhasesOf(request_.config()).size()) {
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

void RunInFolder::Keep(EpochRecord record) {
  if (record.measures.has_test_top1()) last_test_top1_ = record.measures.test_top1();
  records_.push_back(std::move(record));
}

}  // namespace prunelab
