// Training a run further: its folder holds a run of fewer epochs that is otherwise the same one, finished or not. The
// longer run goes on from what the other's last step left (state.safetensors), or last checkpoint, and ends with the
// epochs.jsonl, last.safetensors and result.json, byte for byte, of one that had all its epochs from the start.
//
// It is trained in a folder of its own, <run>/further, beside which everything of the shorter run stays as it is. Only
// when its result is there its files take the place of the old ones, and whoever is killed in the middle of that is
// followed by one who ends it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/runs/run_checkpoint.h"

namespace prunelab {

// Whether `longer` is `config` with more epochs: of the run, of its last phase, or by phases behind those it has.
bool IsLonger(const RunConfig& config, const RunConfig& longer);

// For such a `longer`: why a run of it does not begin with the epochs of a run of `config`, e.g. by a schedule that
// follows the number of epochs; "" where it does, as far as configs tell.
std::string RatesDiffer(const RunConfig& config, const RunConfig& longer);

// What a longer run starts from.
struct FurtherStart {
  int64_t epochs = 0;                       // that the run in the folder has, or would have had
  int64_t done = 0;                         // of these, that need not be trained again
  std::string from_start;                   // set: why none of them is of use; a clause, e.g. "its state was not kept"
  std::optional<RunCheckpoint> checkpoint;  // absent: it is trained from the start
};

// What a run of `config` in `folder` starts from. No value: the folder holds no run of another config. Errors:
// FailedPrecondition, with the difference and a reason, where it holds one that `config` does not train further. `arm`
// is for messages. `run_id_of` gives the identity that a run of a config has here; without it that is not looked at.
absl::StatusOr<std::optional<FurtherStart>> FindStart(const std::string& folder, const std::string& arm,
                                                      const RunConfig& config,
                                                      const std::function<std::string(const RunConfig&)>& run_id_of);

// Says that to a person: "Trained further, from 20 of 20 epochs to 40".
std::string FurtherText(const FurtherStart& start, const RunConfig& config);

// Where the longer run is trained.
std::string FurtherFolder(const std::string& folder);

// The folder whose files tell what run there is: that of a longer one where its result is there already.
std::string HoldingFolder(const std::string& folder);

// Makes FurtherFolder ready for a run of `config` with `run_id`, where it is not. For the run's owner.
absl::Status PrepareFurther(const std::string& folder, const RunConfig& config, const std::string& run_id,
                            const FurtherStart& start);

// Puts a longer run whose result is there in the place of the other. Nothing happens where there is none. For the run's
// owner.
absl::Status FinishFurther(const std::string& folder);

}  // namespace prunelab
