#include "experiments/sweep/rank_options.h"

#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

absl::StatusOr<int64_t> Number(const std::string& name, int64_t least, int64_t most, const Environment& environment) {
  const std::string text = environment(name);
  int64_t value = 0;
  if (absl::SimpleAtoi(text, &value) && value >= least && value <= most) return value;
  return absl::InvalidArgumentError(absl::StrCat("--ranks=env: the variable ", name, " is ",
                                                 text.empty() ? "not set" : absl::StrCat("\"", text, "\""),
                                                 "; it must be a number from ", least, " to ", most));
}

constexpr int64_t kMostRanks = 1 << 16, kLastPort = 65535;

absl::StatusOr<RankOptions> FromTorchrun(const Environment& environment) {
  RankOptions options;
  options.launched = true;
  PRUNELAB_ASSIGN_OR_RETURN(options.count, Number("WORLD_SIZE", 1, kMostRanks, environment));
  PRUNELAB_ASSIGN_OR_RETURN(options.rank, Number("RANK", 0, options.count - 1, environment));
  PRUNELAB_ASSIGN_OR_RETURN(options.port, Number("MASTER_PORT", 1, kLastPort, environment));
  if (!environment("LOCAL_RANK").empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options.local_rank, Number("LOCAL_RANK", 0, options.rank, environment));
  }
  if (!environment("LOCAL_WORLD_SIZE").empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options.ranks_here, Number("LOCAL_WORLD_SIZE", 1, options.count, environment));
  }
  options.address = environment("MASTER_ADDR");
  options.store_is_there = environment("TORCHELASTIC_USE_AGENT_STORE") == "True";
  options.attempt = environment("TORCHELASTIC_RESTART_COUNT");
  // The agents of several machines do not count restarts alike, so that the ranks of one would wait elsewhere than
  // others.
  const std::string nodes = environment("GROUP_WORLD_SIZE"), restarts = environment("TORCHELASTIC_MAX_RESTARTS");
  if (!nodes.empty() && nodes != "1" && !restarts.empty() && restarts != "0") {
    return absl::InvalidArgumentError(
        absl::StrCat("--ranks=env: torchrun was started on several machines with --max-restarts=", restarts,
                     "; leave that out: ranks try again by themselves (--retries), and the same command goes on"));
  }
  return options;
}

absl::StatusOr<RankOptions> FromSlurm(const Environment& environment) {
  RankOptions options;
  options.launched = true;
  // Each task has cores of its own, which this process sees, so it shares them with no other.
  PRUNELAB_ASSIGN_OR_RETURN(options.count, Number("SLURM_NTASKS", 1, kMostRanks, environment));
  PRUNELAB_ASSIGN_OR_RETURN(options.rank, Number("SLURM_PROCID", 0, options.count - 1, environment));
  PRUNELAB_ASSIGN_OR_RETURN(options.local_rank, Number("SLURM_LOCALID", 0, options.rank, environment));
  options.address = environment("MASTER_ADDR");
  if (options.address.empty()) options.address = FirstHost(environment("SLURM_STEP_NODELIST"));
  if (!environment("MASTER_PORT").empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options.port, Number("MASTER_PORT", 1, kLastPort, environment));
  } else {
    // Another one for each job, below those that systems give to clients.
    PRUNELAB_ASSIGN_OR_RETURN(const int64_t job, Number("SLURM_JOB_ID", 0, int64_t{1} << 40, environment));
    options.port = 15000 + job % 15000;
  }
  return options;
}

}  // namespace

std::string EnvironmentValue(const std::string& name) {
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

std::string FirstHost(const std::string& list) {
  const size_t end = list.find_first_of(",[");
  std::string host = list.substr(0, end);
  if (end == std::string::npos || list[end] == ',') return host;
  const size_t number_end = list.find_first_of(",-]", end);
  return host + list.substr(end + 1, number_end - end - 1);
}

absl::StatusOr<RankOptions> ParseRanks(const std::string& flag, const Environment& environment) {
  RankOptions options;
  if (flag != "env") {
    if (absl::SimpleAtoi(flag, &options.count) && options.count >= 1 && options.count <= kMostRanks) return options;
    return absl::InvalidArgumentError(absl::StrCat(
        "--ranks=", flag, ": must be a number of processes from 1 on, or env, where torchrun or srun starts them"));
  }
  if (!environment("RANK").empty() || !environment("WORLD_SIZE").empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options, FromTorchrun(environment));
  } else if (!environment("SLURM_PROCID").empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options, FromSlurm(environment));
  } else {
    return absl::InvalidArgumentError(
        "--ranks=env: neither RANK and WORLD_SIZE (torchrun) nor SLURM_PROCID (srun) is set in the environment");
  }
  if (options.count > 1 && options.address.empty()) {
    return absl::InvalidArgumentError("--ranks=env: the variable MASTER_ADDR, the host of rank 0, is not set");
  }
  return options;
}

}  // namespace prunelab
