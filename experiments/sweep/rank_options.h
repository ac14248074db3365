// How many processes train a run together, and how this one came to be one of them: the flag --ranks.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/statusor.h"

namespace prunelab {

struct RankOptions {
  int64_t count = 1;  // processes that train a run together
  // Whether something else has started this program once for each of them; then what follows is said by the
  // environment.
  bool launched = false;
  int64_t rank = 0;             // of this process
  int64_t local_rank = 0;       // among those of this machine: which of its GPUs is this one's
  int64_t ranks_here = 1;       // that share the cores that this process may use
  std::string address;          // of rank 0's machine
  int64_t port = 0;             // there
  bool store_is_there = false;  // the launcher keeps it (torchrun)
  std::string attempt;          // of the launcher
  double silence_seconds = 30;
  double join_seconds = 600;

  // Whether another process decides what is trained.
  bool follows() const { return launched && rank > 0; }
};

// The value of an environment variable, or "".
using Environment = std::function<std::string(const std::string&)>;
std::string EnvironmentValue(const std::string& name);

// `flag`: a number of processes, or "env": as torchrun's variables say (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR,
// MASTER_PORT), or else Slurm's (SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID, SLURM_STEP_NODELIST, SLURM_JOB_ID). Errors:
// it is neither, or a variable is missing or makes no sense.
absl::StatusOr<RankOptions> ParseRanks(const std::string& flag, const Environment& environment);

// The first host of a list as Slurm writes it: "node03" of "node[03-05,9],gpu1".
std::string FirstHost(const std::string& list);

}  // namespace prunelab
