#include "experiments/sweep/planned_runs.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/identity.h"
#include "experiments/config/output_files.h"
#include "experiments/config/run_network.h"
#include "experiments/config/seed_files.h"
#include "experiments/config/source_arm.h"
#include "experiments/runs/run.h"
#include "experiments/runs/teacher.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/file_lock.h"
#include "ml/base/files.h"
#include "ml/base/output_guard.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"
#include "ml/training/precision.h"
#include "ml/training/training_config.h"

namespace prunelab {
namespace {

// What a run that trains another one further starts from, if its folder contains such a run.
absl::StatusOr<std::optional<FurtherStart>> StartOf(const PlannedRun& run) {
  std::function<std::string(const RunConfig&)> run_id_of;
  if (run.dataset != nullptr) {
    run_id_of = [&](const RunConfig& config) { return FullRunId(config, run.seed, run.sources); };
  }
  return FindStart(HoldingFolder(run.folder), run.arm->name, run.arm->config, run_id_of);
}

// A run of the arm and seed with the current data and weights, as far as it needs no network.
absl::StatusOr<PlannedRun> MakeRun(const RunnerOptions& options, Inputs& inputs, const Arm& of_all_seeds,
                                   int64_t seed) {
  const Arm& arm = inputs.ArmFor(of_all_seeds, seed);
  PlannedRun run;
  run.arm = &arm;
  run.seed = seed;
  run.folder = RunFolder(options, arm, seed);
  PRUNELAB_ASSIGN_OR_RETURN(run.dataset, inputs.DatasetOf(arm));
  PRUNELAB_ASSIGN_OR_RETURN(const InitialWeights* const weights, inputs.WeightsOf(arm));
  PRUNELAB_ASSIGN_OR_RETURN(const RunTeacher* const teacher, inputs.TeacherOf(arm));
  run.sources = {run.dataset->fingerprint, weights->digest, teacher->digest, /*source_run_id=*/""};
  run.run_id = FullRunId(arm.config, seed, run.sources);
  return run;
}

// The run of the arm called `name` that was done before and from which `run` starts, or takes its shape.
absl::StatusOr<PlannedRun> FindDoneSource(const LoadedAblation& loaded, const RunnerOptions& options, Inputs& inputs,
                                          const PlannedRun& run, const std::string& name) {
  const auto arm =
      std::find_if(loaded.arms.begin(), loaded.arms.end(), [&](const Arm& other) { return other.name == name; });
  PRUNELAB_CHECK(arm != loaded.arms.end()) << name;
  PRUNELAB_ASSIGN_OR_RETURN(PlannedRun source, MakeRun(options, inputs, *arm, run.seed));
  const std::string what =
      absl::StrCat("arm \"", run.arm->name, "\" ", SourceVerb(run.arm->config), " ", source.name());
  const absl::StatusOr<RunState> state = LookAt(source);
  if (!state.ok()) return WithPrefix(what, state.status());
  if (!state->result || state->result->status != "done") {
    return absl::FailedPreconditionError(
        absl::StrCat(what, ", of which there is no result in ", options.output, "; run that arm too, or before"));
  }
  return source;
}

// For runs with `start_from` or `from_scratch`: the run that comes before them, here or done before.
absl::Status FindSources(const LoadedAblation& loaded, const RunnerOptions& options, Inputs& inputs,
                         std::vector<PlannedRun>& runs) {
  for (PlannedRun& run : runs) {
    if (!HasSource(run.arm->config)) continue;
    const std::string& name = SourceArm(run.arm->config);
    const auto planned = std::find_if(runs.begin(), runs.end(), [&](const PlannedRun& other) {
      return other.arm->name == name && other.seed == run.seed;
    });
    if (planned != runs.end()) {
      run.source = static_cast<int>(planned - runs.begin());
      run.source_folder = planned->folder;
      run.sources.source_run_id = planned->run_id;
    } else {
      PRUNELAB_ASSIGN_OR_RETURN(const PlannedRun source, FindDoneSource(loaded, options, inputs, run, name));
      run.source_folder = source.folder;
      run.sources.source_run_id = source.run_id;
    }
    run.run_id = FullRunId(run.arm->config, run.seed, run.sources);
  }
  return absl::OkStatus();
}

struct ArmOnData {
  int64_t macs = 0;   // of one image
  double images = 0;  // to train
};

// Builds the network of an arm's run, and checks that data, weights and teacher go with it.
absl::StatusOr<ArmOnData> CheckOnData(const Arm& arm, const Dataset& dataset, const RunnerOptions& options,
                                      Inputs& inputs) {
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, dataset.info));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t images, CheckArmOnData(arm, network, dataset, options.ranks.count));
  PRUNELAB_RETURN_IF_ERROR(inputs.CheckWeightsFit(arm, network));
  PRUNELAB_RETURN_IF_ERROR(inputs.CheckTeacherFits(arm, network));
  return ArmOnData{network.MacCount(), static_cast<double>(images * arm.config.training().epochs())};
}

}  // namespace

std::string PlannedRun::name() const { return absl::StrCat(arm->name, " seed ", seed); }

std::string RunFolder(const RunnerOptions& options, const Arm& arm, int64_t seed) {
  return JoinPath(JoinPath(options.output, arm.name), absl::StrCat(seed));
}

std::vector<int64_t> SeedsHere(const LoadedAblation& loaded, const RunnerOptions& options) {
  return SeedsOf(loaded.ablation.has_search() ? Shard() : options.shard, options.seeds);
}

absl::StatusOr<std::vector<PlannedRun>> PlanRuns(const LoadedAblation& loaded, const RunnerOptions& options,
                                                 Inputs& inputs) {
  std::vector<PlannedRun> runs;
  for (const Arm& arm : options.arms) {
    std::optional<ArmOnData> on_data;
    for (const int64_t seed : SeedsHere(loaded, options)) {
      PRUNELAB_ASSIGN_OR_RETURN(PlannedRun run, MakeRun(options, inputs, arm, seed));
      if (!on_data || NamesSeed(arm.config)) {
        PRUNELAB_ASSIGN_OR_RETURN(on_data, CheckOnData(*run.arm, *run.dataset, options, inputs));
      }
      run.macs = on_data->macs;
      run.images = on_data->images;
      runs.push_back(std::move(run));
    }
  }
  PRUNELAB_RETURN_IF_ERROR(FindSources(loaded, options, inputs, runs));
  return runs;
}

absl::StatusOr<int64_t> CheckArmOnData(const Arm& arm, const NetworkInfo& network, const Dataset& dataset,
                                       int64_t ranks) {
  const absl::StatusOr<int64_t> images = CheckTrainingOnData(arm.config.training(), network, dataset);
  absl::Status status = images.status();
  if (images.ok()) status = CheckRanks(arm.config.training(), network, *images, ranks);
  if (status.ok()) return images;
  status = InField("training", status);
  return InArm(arm, ErrorField(status), status);
}

absl::Status CheckArmPrecision(const Arm& arm, c10::Device device) {
  const absl::Status status = InField("training", CheckPrecision(arm.config.training(), device));
  return status.ok() ? status : WithPrefix(absl::StrCat("arm \"", arm.name, "\""), status);
}

absl::Status CheckWeightsStay(const std::vector<PlannedRun>& runs,
                              const std::vector<std::optional<RunResult>>& results) {
  std::set<std::pair<std::string, std::string>> files;  // field, path
  for (const PlannedRun& run : runs) {
    const RunConfig& config = run.arm->config;
    if (config.has_initial_weights()) files.emplace("initial_weights", config.initial_weights());
    if (config.training().has_teacher()) files.emplace(kTeacherField, config.training().teacher().checkpoint());
  }
  for (const auto& [field, path] : files) {
    for (size_t i = 0; i < runs.size(); ++i) {
      const PlannedRun& run = runs[i];
      for (const char* name : kRunFiles) {
        if (results[i] || !SameFile(UserPath(path), JoinPath(run.folder, name))) continue;
        return absl::InvalidArgumentError(absl::StrCat(field, ": ", path, " is the file that ", run.name(),
                                                       " writes; copy it elsewhere, or use another --output"));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<RunState> LookAt(const PlannedRun& run) {
  RunState state;
  PRUNELAB_ASSIGN_OR_RETURN(state.further, StartOf(run));
  if (state.further) return state;
  const std::string folder = HoldingFolder(run.folder), path = JoinPath(folder, "result.json");
  if (!PathExists(path)) return state;
  PRUNELAB_ASSIGN_OR_RETURN(RunResult result, ReadResult(folder));
  if (!run.run_id.empty() && result.run_id != run.run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": its run was made with other data, initial weights or teacher (their fingerprint is not what it "
                     "is now), or from another run of the arm that it starts from, or by a version of the program that "
                     "named runs otherwise; use another --output"));
  }
  if (!IsFinished(result)) return state;
  AddTiming(folder, result);
  state.result = std::move(result);
  return state;
}

absl::Status FinishFurtherAlone(const std::string& folder) {
  if (!IsFolder(FurtherFolder(folder))) return absl::OkStatus();
  const absl::StatusOr<FileLock> lock = FileLock::Take(JoinPath(folder, kRunLock), FileLock::Kind::kExclusive);
  return lock.ok() ? FinishFurther(folder) : absl::OkStatus();
}

void FurtherRuns::Add(const PlannedRun& run, const FurtherStart& start) {
  runs_by_text_[FurtherText(start, run.arm->config)].push_back(run.name());
}

std::string FurtherRuns::Text() const {
  constexpr size_t kNamed = 3;
  std::string lines;
  for (const auto& [text, runs] : runs_by_text_) {
    const size_t named = std::min(kNamed, runs.size());
    absl::StrAppend(&lines, text, ": ",
                    absl::StrJoin(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(named), ", "));
    if (runs.size() > named) absl::StrAppend(&lines, " and ", runs.size() - named, " more");
    absl::StrAppend(&lines, "\n");
  }
  return lines;
}

}  // namespace prunelab
