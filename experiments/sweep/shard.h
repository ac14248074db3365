// Shares of a sweep, for several machines: the seeds that one of them trains.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const Shard shard, ParseShard("1/3"));
//   for (const int64_t seed : SeedsOf(shard, seeds)) ...  // of the seeds 1 to 7: 2, 5
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// A part of a sweep: the seeds whose index in the list of seeds is `index` modulo `count`, with all arms, so that runs
// that are compared come from the same machine.
struct Shard {
  int64_t index = 0;
  int64_t count = 1;
  std::string name = "all";  // for messages: "shard 1/3", "task 1 of 3 of a Slurm array"
};

// "2/8" -> index 2, count 8; "slurm" -> SlurmShard.
absl::StatusOr<Shard> ParseShard(absl::string_view text);

// The share of this task of a Slurm job array, by its index among the array's tasks (SLURM_ARRAY_TASK_*). Errors: this
// is not such a task; the array has gaps, so its index is unknown.
absl::StatusOr<Shard> SlurmShard();

// Whether this is a task of a Slurm job array.
bool IsSlurmTask();

std::vector<int64_t> SeedsOf(const Shard& shard, const Seeds& seeds);

// "task 1 of 3 of a Slurm array: seeds 2, 5 (--shard=1/3; without --shard all are trained)".
std::string ShardText(const Shard& shard, const Seeds& seeds);

// InvalidArgument if no seed is left for the shard.
absl::Status CheckShard(const Shard& shard, const Seeds& seeds);

}  // namespace prunelab
