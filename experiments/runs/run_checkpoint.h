// The state of a run that is under way, in its folder: checkpoint.safetensors and, until the next one is known good,
// the one before it, checkpoint.previous.safetensors. Each is the trainer's state with the records of the epochs done,
// and carries a checksum of the whole file. That of a finished run stays as state.safetensors, made behind its last
// step and before what comes at a run's end: from there it can be trained further (further.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

inline constexpr char kStateFile[] = "state.safetensors";

// In a checkpoint's state, beside the trainer's: the phase's number (metadata, where it is not 0), and networks that
// later phases rewind to (tensors, "rewind/<epochs>/<name>").
inline constexpr char kPhaseKey[] = "run/phase", kRewindPrefix[] = "rewind/";

struct RunCheckpoint {
  Safetensors state;                 // Trainer::SaveState
  std::vector<std::string> records;  // the lines of epochs.jsonl so far
  std::string run_id;
};

// A checkpoint as the bytes of a file, and back. `name` stands for the bytes in errors: DataLoss for any that are not
// exactly what was written.
std::string SerializeRunCheckpoint(RunCheckpoint checkpoint);
absl::StatusOr<RunCheckpoint> ParseRunCheckpoint(const std::string& bytes, const std::string& name);

// The one before becomes checkpoint.previous.safetensors. When this fails there is still a checkpoint to go on from.
absl::Status WriteRunCheckpoint(const std::string& folder, RunCheckpoint checkpoint);

// The newest whole checkpoint of the run `run_id`; none where there is none. What had to be passed over is told in
// `warnings`. The one before, where it is used, takes the place of what was passed over: the next write would else put
// that into the good one's place, and a kill in the middle of it would leave no checkpoint at all.
std::optional<RunCheckpoint> ReadRunCheckpoint(const std::string& folder, const std::string& run_id,
                                               std::vector<std::string>& warnings);

// When the run's result is there: where `keep`, its last checkpoint becomes state.safetensors; there are no others
// then.
absl::Status SettleRunCheckpoints(const std::string& folder, bool keep);

// The state of the run `run_id` (of any, where that is ""), finished or not, and nothing is changed. None where there
// is none that is whole; then `damage` is what is wrong with one that there is, if any.
std::optional<RunCheckpoint> FindRunState(const std::string& folder, const std::string& run_id, std::string& damage);

}  // namespace prunelab
