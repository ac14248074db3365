#include "experiments/sweep/runner.h"

#include <algorithm>
#include <iostream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "experiments/config/output_files.h"
#include "experiments/records/results_folder.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/sweep/coordinator.h"
#include "experiments/sweep/gpus.h"
#include "experiments/sweep/inputs.h"
#include "experiments/sweep/planned_runs.h"
#include "experiments/sweep/rank_follower.h"
#include "ml/base/file_lock.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/execution/device.h"

namespace prunelab {
namespace {

using Results = std::vector<std::optional<RunResult>>;  // of each planned run, if it is done

// Locks the output folder: all of it, or a shard's part next to other shards.
absl::StatusOr<std::vector<FileLock>> LockFolder(const RunnerOptions& options) {
  const bool whole = options.shard.count == 1;
  std::vector<FileLock> locks;
  PRUNELAB_ASSIGN_OR_RETURN(
      FileLock folder,
      FileLock::Take(JoinPath(options.output, ".lock"), whole ? FileLock::Kind::kExclusive : FileLock::Kind::kShared));
  locks.push_back(std::move(folder));
  if (whole) return locks;
  PRUNELAB_ASSIGN_OR_RETURN(
      FileLock part,
      FileLock::Take(JoinPath(options.output, absl::StrCat(".lock.", options.shard.index, "of", options.shard.count)),
                     FileLock::Kind::kExclusive));
  locks.push_back(std::move(part));
  return locks;
}

// The results in the runs' folders. Refuses runs that cannot be trained in their folders or on the device; nothing is
// written.
absl::StatusOr<Results> CheckRuns(const LoadedAblation& loaded, const std::vector<PlannedRun>& runs,
                                  at::Device device) {
  Results results;
  for (const PlannedRun& run : runs) {
    PRUNELAB_ASSIGN_OR_RETURN(RunState state, LookAt(run));
    // Its scores would be those of other epochs.
    if (loaded.ablation.has_search() && state.further) {
      return absl::FailedPreconditionError(absl::StrCat(
          run.folder, ": holds a trial of a search with ", state.further->epochs, " epochs, now there are ",
          run.arm->config.training().epochs(), "; a search keeps its epochs: use another --output"));
    }
    // One that is done may have been trained on another machine.
    if (!state.result) PRUNELAB_RETURN_IF_ERROR(CheckArmPrecision(*run.arm, device));
    results.push_back(std::move(state.result));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckWeightsStay(runs, results));
  return results;
}

// Takes over the folders, now that no other process works in them: finishes what processes left half done when they
// died, and looks again at the runs without a result, which may have been finished in the meantime. For runs that train
// others further, only what is new is left to train.
absl::Status TakeUpFolders(std::vector<PlannedRun>& runs, Results& results) {
  FurtherRuns further;
  for (size_t i = 0; i < runs.size(); ++i) {
    PlannedRun& run = runs[i];
    const Training& training = run.arm->config.training();
    PRUNELAB_RETURN_IF_ERROR(FinishFurtherAlone(run.folder));
    if (!run.source_folder.empty()) PRUNELAB_RETURN_IF_ERROR(FinishFurtherAlone(run.source_folder));
    std::optional<FurtherStart> start;
    if (!results[i]) {
      PRUNELAB_ASSIGN_OR_RETURN(RunState state, LookAt(run));
      results[i] = std::move(state.result);
      start = std::move(state.further);
    }
    if (results[i]) PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(run.folder, training.keep_state()));
    if (!start) continue;
    further.Add(run, *start);
    run.images *= 1 - static_cast<double>(start->done) / static_cast<double>(training.epochs());
  }
  std::cerr << further.Text();
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options) {
  if (!loaded.ablation.has_search()) PRUNELAB_RETURN_IF_ERROR(CheckShard(options.shard, options.seeds));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(options.device));
  Inputs inputs([](const std::string& note) { std::cerr << note << "\n"; });
  PRUNELAB_ASSIGN_OR_RETURN(std::vector<PlannedRun> runs, PlanRuns(loaded, options, inputs));
  PRUNELAB_RETURN_IF_ERROR(CheckFolderCanBeWritten(options.output));
  PRUNELAB_ASSIGN_OR_RETURN(Results results, CheckRuns(loaded, runs, device));
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(options.output));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<FileLock> locks, LockFolder(options));
  if (options.shard.count == 1) PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(options.output));
  PRUNELAB_RETURN_IF_ERROR(TakeUpFolders(runs, results));
  const std::string ablation_text = PrettyText(loaded.ablation);
  PRUNELAB_RETURN_IF_ERROR(KeepPlan(options.output, ablation_text));
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(options.output, kAblationFile), ablation_text));
  const Machine machine = ThisMachine();
  std::vector<std::string> gpus = GpusFor(device);
  if (!gpus.empty() && options.ranks.launched) {
    PRUNELAB_ASSIGN_OR_RETURN(const std::string gpu, GpuOfRank(options.ranks, gpus));
    gpus = {gpu};
  }
  if (!gpus.empty() && !options.ranks.launched && static_cast<int64_t>(gpus.size()) < options.ranks.count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--ranks=", options.ranks.count, ": each rank needs a GPU, and there ",
        gpus.size() == 1 ? "is 1" : absl::StrCat("are ", gpus.size()), "; use --device=cpu, or fewer ranks"));
  }
  const Allotment allotment = AllotmentOf(loaded, options, machine, static_cast<int64_t>(gpus.size()));
  const bool all_done =
      std::all_of(results.begin(), results.end(), [](const auto& result) { return result.has_value(); });
  if (!all_done) std::cerr << AllotmentText(machine, allotment) << "\n";
  return TrainRuns({loaded, options, locks, std::move(gpus), allotment, std::move(runs), std::move(results)});
}

}  // namespace prunelab
