#include "experiments/runs/further.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/identity.h"
#include "experiments/config/phases.h"
#include "experiments/records/records.h"
#include "experiments/runs/removal.h"
#include "experiments/runs/tensorboard_writer.h"
#include "ml/base/files.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/training/schedule.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

constexpr char kConfig[] = "config.textproto", kResult[] = "result.json", kProvenance[] = "provenance.json",
               kTiming[] = "timing.jsonl";

absl::StatusOr<RunConfig> ReadConfig(const std::string& folder) {
  RunConfig config;
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<TextProtoSource> source,
                            TextProtoSource::ParseFile(JoinPath(folder, kConfig), &config));
  return config;
}

absl::Status Remove(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat(path, ": cannot be removed: ", std::strerror(errno)));
}

bool IsEvents(const std::string& name) { return absl::StartsWith(name, kEventsPrefix); }

// Among the epochs that a later phase rewinds to, one whose network the checkpoint should contain and does not; 0:
// none.
int64_t MissingRewind(const std::vector<RunPhase>& phases, size_t phase, const RunCheckpoint& checkpoint) {
  const auto done = static_cast<int64_t>(checkpoint.records.size());
  for (size_t i = phase; i < phases.size(); ++i) {
    const int64_t epochs = phases[i].rewind_to_epoch.value_or(0);
    if (epochs == 0 || epochs > done) continue;
    const std::string prefix = absl::StrCat(kRewindPrefix, epochs, "/");
    const auto found = checkpoint.state.tensors.lower_bound(prefix);
    if (found == checkpoint.state.tensors.end() || !absl::StartsWith(found->first, prefix)) return epochs;
  }
  return 0;
}

}  // namespace

bool IsLonger(const RunConfig& config, const RunConfig& longer) {
  const int phases = config.phase_size();
  if (longer.training().epochs() <= config.training().epochs()) return false;
  if (longer.phase_size() < phases || (phases == 0 && longer.phase_size() > 0)) return false;
  RunConfig cut = longer;
  while (cut.phase_size() > phases) cut.mutable_phase()->RemoveLast();
  if (phases > 0) {
    if (cut.phase(phases - 1).epochs() < config.phase(phases - 1).epochs()) return false;
    cut.mutable_phase(phases - 1)->set_epochs(config.phase(phases - 1).epochs());
  }
  cut.mutable_training()->set_epochs(config.training().epochs());
  return ArmDifference(config, cut).empty();
}

std::string RatesDiffer(const RunConfig& config, const RunConfig& longer) {
  const std::vector<RunPhase> phases = PhasesOf(config), longer_phases = PhasesOf(longer);
  for (size_t i = 0; i < phases.size(); ++i) {
    const Training &was = phases[i].training, &now = longer_phases[i].training;
    for (int64_t epoch = 0; epoch < was.epochs(); ++epoch) {
      // A warm-up counts steps, not epochs of the run, so one step of each epoch is enough to tell.
      const double old_rate = LearningRate(was, epoch, 0, 1), rate = LearningRate(now, epoch, 0, 1);
      if (old_rate == rate) continue;
      return absl::StrFormat(
          "It cannot be trained further, since its schedule follows the number of epochs: epoch %d had a learning rate "
          "of %.6g, and with %d epochs in place of %d it has %.6g. Constant, step and multi_step schedules can be "
          "continued.",
          phases[i].first_epoch + epoch, old_rate, now.epochs(), was.epochs(), rate);
    }
  }
  return "";
}

absl::StatusOr<std::optional<FurtherStart>> FindStart(const std::string& folder, const std::string& arm,
                                                      const RunConfig& config,
                                                      const std::function<std::string(const RunConfig&)>& run_id_of) {
  if (!PathExists(JoinPath(folder, kConfig))) return std::nullopt;
  PRUNELAB_ASSIGN_OR_RETURN(const RunConfig old_config, ReadConfig(folder));
  const std::string difference = ArmDifference(old_config, config);
  if (difference.empty()) return std::nullopt;
  const auto refuse = [&](const std::string& why) {
    return absl::FailedPreconditionError(absl::StrCat(folder, ": holds a run of another config; the arm \"", arm,
                                                      "\" now differs in\n", difference, why, why.empty() ? "" : "\n",
                                                      "Give the changed arm another name, or use another --output."));
  };
  if (!IsLonger(old_config, config)) {
    return refuse(IsLonger(config, old_config) ? "More epochs would train it further; epochs cannot be taken back."
                                               : "");
  }
  const std::string rates = RatesDiffer(old_config, config);
  if (!rates.empty()) return refuse(rates);

  FurtherStart start;
  start.epochs = old_config.training().epochs();
  const absl::StatusOr<RunResult> result = ReadResult(folder);
  std::string old_id = run_id_of ? run_id_of(old_config) : "";
  if (result.ok() && !old_id.empty() && result->run_id != old_id) {
    return absl::FailedPreconditionError(absl::StrCat(
        JoinPath(folder, kResult),
        ": its run was made with other data, initial weights or teacher (their fingerprint is not what it "
        "is now), or has the shape of a run that is another one now, so it cannot be trained further; use another "
        "--output"));
  }
  if (result.ok() && old_id.empty()) old_id = result->run_id;
  std::string damage;
  std::optional<RunCheckpoint> checkpoint = FindRunState(folder, old_id, damage);
  if (!checkpoint) {
    start.from_start = damage.empty() ? "its state was not kept" : absl::StrCat("of its state, ", damage);
    return start;
  }
  const std::vector<RunPhase> old_phases = PhasesOf(old_config), phases = PhasesOf(config);
  size_t phase = 0;
  const auto phase_text = checkpoint->state.metadata.find(kPhaseKey);
  if (phase_text != checkpoint->state.metadata.end() && !absl::SimpleAtoi(phase_text->second, &phase)) {
    phase = old_phases.size();
  }
  const std::optional<Trainer::SavedPlace> place = Trainer::PlaceOf(checkpoint->state);
  const bool last = phase + 1 == old_phases.size();
  if (!place || phase >= old_phases.size() || (last && place->epoch >= old_phases[phase].training.epochs())) {
    // What happens at a run's end (a strategy's last masks, BatchNorm's statistics for the evaluation) would not have
    // happened there in a longer run.
    start.from_start = "its state is not that of its last step";
    return start;
  }
  if (last && place->total_epochs_read && phases[phase].training.epochs() != old_phases[phase].training.epochs()) {
    return refuse(absl::StrCat("It cannot be trained further, since its strategy, ",
                               AnyTypeName(old_phases[phase].pruning),
                               ", goes by the number of epochs: with more of them it would have pruned otherwise from "
                               "the start. (Where it has a field for when it ends, such as end_epoch, set that.)"));
  }
  if (const int64_t epochs = MissingRewind(phases, phase, *checkpoint)) {
    start.from_start = absl::StrCat("a phase goes back to the network after epoch ", epochs, ", which was not kept");
    return start;
  }
  start.done = static_cast<int64_t>(checkpoint->records.size());
  if (last && result.ok() && result->status == "done")
    start.done = start.epochs;  // all except the evaluation of the last
  start.checkpoint = std::move(checkpoint);
  return start;
}

std::string FurtherText(const FurtherStart& start, const RunConfig& config) {
  const int64_t epochs = config.training().epochs();
  if (start.checkpoint) {
    return absl::StrCat("Trained further, from ", start.done, " of ", start.epochs, " epochs to ", epochs);
  }
  return absl::StrCat("Trained from the start to ", epochs, " epochs, since ", start.from_start, " (what there is of ",
                      start.epochs, " epochs stays until then)");
}

std::string FurtherFolder(const std::string& folder) { return JoinPath(folder, "further"); }

std::string HoldingFolder(const std::string& folder) {
  const std::string further = FurtherFolder(folder);
  const absl::StatusOr<RunResult> result = ReadResult(further);
  return result.ok() && result->status != "failed" ? further : folder;
}

absl::Status PrepareFurther(const std::string& folder, const RunConfig& config, const std::string& run_id,
                            const FurtherStart& start) {
  const std::string further = FurtherFolder(folder);
  const absl::StatusOr<RunConfig> there = ReadConfig(further);  // written last, so everything else exists, too
  const bool failed = PathExists(JoinPath(further, kResult));
  if (there.ok() && ArmDifference(*there, config).empty() && !failed) return absl::OkStatus();
  // Without its parents: the run's folder may have vanished.
  if (mkdir(further.c_str(), 0777) != 0 && errno != EEXIST) {
    return absl::InternalError(absl::StrCat(further, ": cannot be made: ", std::strerror(errno)));
  }
  PRUNELAB_RETURN_IF_ERROR(Remove(JoinPath(further, kConfig)));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> old_names, ListFolder(further));
  for (const std::string& name : old_names) PRUNELAB_RETURN_IF_ERROR(Remove(JoinPath(further, name)));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(folder));
  for (const std::string& name : names) {
    // Times cover everything that was trained; the provenance of the run's beginning is noted where the longer run
    // resumes.
    if (name != kTiming && !(start.checkpoint && (name == kProvenance || IsEvents(name)))) continue;
    PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(JoinPath(folder, name)));
    PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(further, name), bytes));
  }
  if (start.checkpoint) {
    RunCheckpoint checkpoint = *start.checkpoint;
    checkpoint.run_id = run_id;
    PRUNELAB_RETURN_IF_ERROR(WriteRunCheckpoint(further, std::move(checkpoint)));
  }
  return WriteFileAtomically(JoinPath(further, kConfig), ResolvedText(config));
}

absl::Status FinishFurther(const std::string& folder) {
  const std::string further = FurtherFolder(folder);
  if (HoldingFolder(folder) != further) {
    rmdir(further.c_str());  // everything that may be left of a run that was moved
    return absl::OkStatus();
  }
  for (const std::string& place : {folder, further}) PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(place));
  const bool config_moved = !PathExists(JoinPath(further, kConfig));
  if (!config_moved) {
    PRUNELAB_ASSIGN_OR_RETURN(const RunConfig config, ReadConfig(further));
    PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(further, config.training().keep_state()));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListFolder(further));
  // Provenance moves first: as long as it is here, none of the new files can be among those that are removed there.
  if (PathExists(JoinPath(further, kProvenance))) {
    PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(folder, /*keep=*/false));
    PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> old_names, ListFolder(folder));
    for (const std::string& name : old_names) {
      const bool of_old_run = name == kStateFile || name == kRemovedFile || name == kLatencyFile || IsEvents(name);
      if (of_old_run) PRUNELAB_RETURN_IF_ERROR(Remove(JoinPath(folder, name)));
    }
  }
  const auto move = [&](const std::string& name) {
    const std::string from = JoinPath(further, name), to = JoinPath(folder, name);
    if (std::rename(from.c_str(), to.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
    return absl::InternalError(absl::StrCat(from, ": cannot be renamed to ", to, ": ", std::strerror(errno)));
  };
  PRUNELAB_RETURN_IF_ERROR(move(kProvenance));
  for (const std::string& name : names) {
    if (name != kConfig && name != kResult) PRUNELAB_RETURN_IF_ERROR(move(name));
  }
  // Copied, and thereby synced with everything that was moved. The result, by which the folder here is recognized, goes
  // last.
  for (const char* name : {kConfig, kResult}) {
    if (name == kConfig && config_moved) continue;
    PRUNELAB_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(JoinPath(further, name)));
    PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(folder, name), bytes));
  }
  for (const char* name : {kConfig, kResult}) PRUNELAB_RETURN_IF_ERROR(Remove(JoinPath(further, name)));
  rmdir(further.c_str());  // it stays if something else is in it
  return absl::OkStatus();
}

}  // namespace prunelab
