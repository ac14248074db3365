#include "experiments/sweep/dry_run.h"

#include <cstdint>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/run_network.h"
#include "experiments/config/trials.h"
#include "experiments/records/table.h"
#include "experiments/sweep/gpus.h"
#include "experiments/sweep/inputs.h"
#include "experiments/sweep/planned_runs.h"
#include "ml/base/status_macros.h"
#include "ml/execution/device.h"
#include "ml/network/compactors.h"

namespace prunelab {
namespace {

class DryRunner {
 public:
  DryRunner(const LoadedAblation& loaded, const RunnerOptions& options)
      : loaded_(loaded),
        options_(options),
        seeds_(SeedsHere(loaded, options)),
        device_(ChooseDevice(options.device)),
        inputs_([this](const std::string& note) { absl::StrAppend(&notes_, note, "\n"); }) {}

  absl::StatusOr<std::string> Text() {
    for (const Arm& arm : options_.arms) PRUNELAB_RETURN_IF_ERROR(AddArm(arm));
    for (const Arm& arm : options_.arms) PRUNELAB_RETURN_IF_ERROR(CheckData(arm));
    const int64_t first = options_.seeds.first();
    const Machine machine = ThisMachine();
    const std::vector<std::string> gpus = device_.ok() ? GpusFor(*device_) : std::vector<std::string>();
    const Allotment allotment = AllotmentOf(loaded_, options_, machine, static_cast<int64_t>(gpus.size()));
    return absl::StrCat("Ablation \"", loaded_.ablation.name(), "\": ", options_.arms.size(), " arms, seeds ", first,
                        " to ", first + options_.seeds.count() - 1, ", ",
                        options_.shard.count > 1 ? "in this share " : "", options_.arms.size() * seeds_.size(),
                        " runs, ", done_, " of them done; output ", options_.output, "\n\n", Aligned(rows_), "\n",
                        SearchText(), AllotmentText(machine, allotment), "\n", further_.Text(), notes_, missing_);
  }

 private:
  // How far trials of a search are trained.
  std::string SearchText() const {
    if (!loaded_.ablation.has_search()) return "";
    const Search& search = loaded_.ablation.search();
    const std::vector<int64_t> rungs = Rungs(search, loaded_.arms.front().config.training().epochs());
    return absl::StrCat("Search: ", search.trials(), " trials, compared after ", absl::StrJoin(rungs, ", "),
                        " epochs; of each comparison one in ", search.reduction(), " goes on: about ",
                        ExpectedEpochs(search, rungs.back()), " epochs for each seed, where all of them would take ",
                        search.trials() * rungs.back(), "\n");
  }

  // What is not there is said, each once, and is no error.
  void Report(const absl::Status& status) {
    if (status.ok() || !reported_.insert(std::string(status.message())).second) return;
    absl::StrAppend(&missing_, "Missing: ", status.message(), "\n");
  }

  // Whether the arm's network is that of a file of weights that does not exist.
  bool IsNetworkMissing(const Arm& arm) {
    return !arm.config.has_network() && absl::IsNotFound(inputs_.WeightsOf(arm).status());
  }

  // Of an arm whose files differ between seeds, that of the first seed is shown.
  absl::Status AddArm(const Arm& of_all_seeds) {
    const Arm& arm = inputs_.ArmFor(of_all_seeds, seeds_.front());
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<DatasetInfo> info, DescribeRunDataset(arm.config));
    if (IsNetworkMissing(arm)) {
      Report(inputs_.WeightsOf(arm).status());
      PRUNELAB_ASSIGN_OR_RETURN(const size_t done, CountDone(of_all_seeds));
      done_ += done;
      rows_.push_back({arm.name, "-", "-", "-", "-", absl::StrCat(done, " of ", seeds_.size())});
      return absl::OkStatus();
    }
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, info));
    // Without the data the network's sizes, which its weights must have, are not known.
    const absl::Status found = info ? inputs_.CheckWeightsFit(arm, network) : inputs_.WeightsOf(arm).status();
    if (!found.ok() && !absl::IsNotFound(found)) return found;
    Report(found);
    const absl::Status teacher = info ? inputs_.CheckTeacherFits(arm, network) : inputs_.TeacherOf(arm).status();
    if (!teacher.ok() && !absl::IsNotFound(teacher)) return teacher;
    Report(teacher);
    PRUNELAB_ASSIGN_OR_RETURN(const size_t done, CountDone(of_all_seeds));
    done_ += done;
    if (device_.ok() && done < seeds_.size()) Report(CheckArmPrecision(arm, *device_));
    const NetworkInfo dense = WithoutCompactors(network);  // as the records count
    rows_.push_back({arm.name, absl::StrCat(dense.ParameterCount()), absl::StrCat(dense.convs().size()),
                     absl::StrCat(dense.FilterCount()), absl::StrCat(dense.MacCount()),
                     absl::StrCat(done, " of ", seeds_.size())});
    return absl::OkStatus();
  }

  absl::StatusOr<size_t> CountDone(const Arm& arm) {
    size_t done = 0;
    for (const int64_t seed : seeds_) {
      PlannedRun run;
      run.arm = &inputs_.ArmFor(arm, seed);
      run.seed = seed;
      run.folder = RunFolder(options_, arm, seed);
      PRUNELAB_ASSIGN_OR_RETURN(const RunState state, LookAt(run));
      done += state.result.has_value();
      if (state.further) further_.Add(run, *state.further);
    }
    return done;
  }

  absl::Status CheckData(const Arm& of_all_seeds) {
    const Arm& arm = inputs_.ArmFor(of_all_seeds, seeds_.front());
    const absl::StatusOr<const Dataset*> dataset = inputs_.DatasetOf(arm);
    Report(dataset.status());
    if (!dataset.ok() || IsNetworkMissing(arm)) return absl::OkStatus();
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, (*dataset)->info));
    return CheckArmOnData(arm, network, **dataset, options_.ranks.count).status();
  }

  const LoadedAblation& loaded_;
  const RunnerOptions& options_;
  const std::vector<int64_t> seeds_;
  const absl::StatusOr<at::Device> device_;
  Inputs inputs_;
  size_t done_ = 0;  // runs
  std::vector<std::vector<std::string>> rows_ = {{"arm", "parameters", "convolutions", "filters", "MACs", "done"}};
  FurtherRuns further_;
  std::set<std::string> reported_;
  std::string notes_, missing_;
};

}  // namespace

absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options) {
  if (!loaded.ablation.has_search()) PRUNELAB_RETURN_IF_ERROR(CheckShard(options.shard, options.seeds));
  return DryRunner(loaded, options).Text();
}

}  // namespace prunelab
