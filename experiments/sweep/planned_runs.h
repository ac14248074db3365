// The runs of a call of the ablation program: every arm with every seed of its shard, with what is known of each before
// it is trained.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "c10/core/Device.h"
#include "experiments/config/identity.h"
#include "experiments/runs/further.h"
#include "experiments/sweep/inputs.h"
#include "experiments/sweep/runner_options.h"

namespace prunelab {

struct PlannedRun {
  const Arm* arm = nullptr;
  int64_t seed = 0;
  std::string folder;
  const Dataset* dataset = nullptr;  // null in a dry run, which does without data; so is what follows from them
  std::string run_id;
  RunSources sources;  // what the identity is made from, besides config and seed
  int64_t macs = 0;    // of one image
  double images = 0;   // to train in total
  // The run that this one starts from, or whose shape it has: its folder, and its index among the planned runs, -1 if
  // it was done before. Its identity is among the sources.
  std::string source_folder;
  int source = -1;
  std::string name() const;  // "dynamic_l1/cov seed 3"
};

// <output>/<arm>/<seed>
std::string RunFolder(const RunnerOptions& options, const Arm& arm, int64_t seed);

// The seeds of this call's runs: those of its shard. The shards of a search share its trials as they come, so that each
// has all seeds.
std::vector<int64_t> SeedsHere(const LoadedAblation& loaded, const RunnerOptions& options);

// All runs, arm by arm. Errors: data or weights that cannot be read or do not fit, a run that another one starts
// from, or whose shape it takes, and which is neither planned nor done. `loaded` and `inputs` must outlive the runs.
absl::StatusOr<std::vector<PlannedRun>> PlanRuns(const LoadedAblation& loaded, const RunnerOptions& options,
                                                 Inputs& inputs);

// How many images an epoch of the arm's runs trains on. Refuses what the loader could not know before the data were
// read.
absl::StatusOr<int64_t> CheckArmOnData(const Arm& arm, const NetworkInfo& network, const Dataset& dataset,
                                       int64_t ranks);

// Refuses an arm whose precision the device would emulate.
absl::Status CheckArmPrecision(const Arm& arm, c10::Device device);

// Refuses initial weights, or a teacher, that a run without a result would overwrite.
absl::Status CheckWeightsStay(const std::vector<PlannedRun>& runs,
                              const std::vector<std::optional<RunResult>>& results);

// The contents of a run's folder; at most one of them.
struct RunState {
  std::optional<RunResult> result;      // finished: a run that failed is tried again
  std::optional<FurtherStart> further;  // a shorter run, which this one trains further
};

// Errors: FailedPrecondition if the folder contains a run of another config, or with other data or weights.
absl::StatusOr<RunState> LookAt(const PlannedRun& run);

// Puts a longer run that has its result in the place of the shorter one, unless its own process is still at that.
absl::Status FinishFurtherAlone(const std::string& folder);

// Collects which runs train others further.
class FurtherRuns {
 public:
  void Add(const PlannedRun& run, const FurtherStart& start);
  // A line for each way in which runs do, with some of their names; "" where none does.
  std::string Text() const;

 private:
  std::map<std::string, std::vector<std::string>> runs_by_text_;
};

}  // namespace prunelab
