// The state of a run that is under way, in its folder: checkpoint.safetensors and, until the next one is known good,
// the one before it, checkpoint.previous.safetensors. Each is the trainer's state with the records of the epochs done,
// and carries a checksum of the whole file.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/execution/safetensors.h"

namespace prunelab {

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

// When the run's result is there.
absl::Status RemoveRunCheckpoints(const std::string& folder);

}  // namespace prunelab
