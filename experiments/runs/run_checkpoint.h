// The state of a run in progress, in its folder: checkpoint.safetensors and, until the next one is known to be good,
// the previous one, checkpoint.previous.safetensors. Each has the trainer's state with the records of the finished
// epochs, and a checksum of the whole file. The checkpoint of a finished run stays as state.safetensors. It was made
// after the last step and before what happens at a run's end, so the run can be trained further from it (further.h).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/safetensors/safetensors.h"

namespace prunelab {

inline constexpr char kStateFile[] = "state.safetensors";

// In a checkpoint's state, in addition to the trainer's: the phase's number (metadata, if it is not 0), and networks
// that later phases rewind to (tensors, "rewind/<epochs>/<name>").
inline constexpr char kPhaseKey[] = "run/phase", kRewindPrefix[] = "rewind/";

struct RunCheckpoint {
  Safetensors state;                 // Trainer::SaveState
  std::vector<std::string> records;  // the lines of epochs.jsonl so far
  std::string run_id;
};

// Converts a checkpoint to the bytes of a file, and back. `name` is the file's name in errors: DataLoss for bytes that
// are not exactly what was written.
std::string SerializeRunCheckpoint(RunCheckpoint checkpoint);
absl::StatusOr<RunCheckpoint> ParseRunCheckpoint(const std::string& bytes, const std::string& name);

// The previous one becomes checkpoint.previous.safetensors. If this fails, there is still a checkpoint to resume from.
absl::Status WriteRunCheckpoint(const std::string& folder, RunCheckpoint checkpoint);

// The newest whole checkpoint of the run `run_id`; no value if there is none. `warnings` says what had to be skipped.
// If the previous one is used, it replaces the one that was skipped. Otherwise the next write would overwrite the good
// one with the damaged one, and a kill in the middle of it would leave no checkpoint at all.
std::optional<RunCheckpoint> ReadRunCheckpoint(const std::string& folder, const std::string& run_id,
                                               std::vector<std::string>& warnings);

// To be called when the run has its result: if `keep`, its last checkpoint becomes state.safetensors; no others are
// left.
absl::Status SettleRunCheckpoints(const std::string& folder, bool keep);

// The state of the run `run_id` (of any run if that is ""), finished or not; nothing is changed. No value if there is
// no whole one; then `damage` says what is wrong with an existing one, if any.
std::optional<RunCheckpoint> FindRunState(const std::string& folder, const std::string& run_id, std::string& damage);

}  // namespace prunelab
