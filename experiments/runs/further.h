// Training a run further: its folder contains a run with fewer epochs that is otherwise the same, finished or not. The
// longer run continues from the state after the other's last step (state.safetensors), or from its last checkpoint, and
// ends with the epochs.jsonl, last.safetensors and result.json, byte for byte, of a run that had all its epochs from
// the start.
//
// It is trained in a separate folder, <run>/further, and everything of the shorter run stays as it is. Only when the
// longer run has its result do its files replace the old ones. If a process is killed in the middle of that, the next
// one finishes it.
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

// Whether `longer` is `config` with more epochs: of the run, of its last phase, or in phases added at the end.
bool IsLonger(const RunConfig& config, const RunConfig& longer);

// For such a `longer`: the reason why a run of it does not begin with the epochs of a run of `config`, e.g. a schedule
// that depends on the number of epochs; "" if it does, as far as configs tell.
std::string RatesDiffer(const RunConfig& config, const RunConfig& longer);

// What a longer run starts from.
struct FurtherStart {
  int64_t epochs = 0;      // that the run in the folder has, or would have had
  int64_t done = 0;        // of these, the ones that need not be trained again
  std::string from_start;  // set: the reason why none of them is of use, as a clause, e.g. "its state was not kept"
  std::optional<RunCheckpoint> checkpoint;  // no value: it is trained from the start
};

// What a run of `config` in `folder` starts from. No value: the folder contains no run of another config. Errors:
// FailedPrecondition, with the difference and a reason, if it contains a run that `config` does not train further.
// `arm` is for messages. `run_id_of` gives the identity of a run of a config here; without it the identity is not
// checked.
absl::StatusOr<std::optional<FurtherStart>> FindStart(const std::string& folder, const std::string& arm,
                                                      const RunConfig& config,
                                                      const std::function<std::string(const RunConfig&)>& run_id_of);

// Says that to the user: "Trained further, from 20 of 20 epochs to 40".
std::string FurtherText(const FurtherStart& start, const RunConfig& config);

// Where the longer run is trained.
std::string FurtherFolder(const std::string& folder);

// The folder whose files say which run there is: a longer run's if its result already exists.
std::string HoldingFolder(const std::string& folder);

// Prepares FurtherFolder for a run of `config` with `run_id`, if that is not done yet. Only the run's owner may call
// it.
absl::Status PrepareFurther(const std::string& folder, const RunConfig& config, const std::string& run_id,
                            const FurtherStart& start);

// Replaces the other run by a longer one that has its result. Does nothing if there is none. Only the run's owner may
// call it.
absl::Status FinishFurther(const std::string& folder);

}  // namespace prunelab
