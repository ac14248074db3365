#include "experiments/sweep/shard.h"

#include <algorithm>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

constexpr char kTaskId[] = "SLURM_ARRAY_TASK_ID";
constexpr int64_t kMostTasks = 1'000'000'000;  // more than Slurm allows

// A number that Slurm passes to its tasks. If it is missing: `otherwise`, or an error if that is negative.
absl::StatusOr<int64_t> SlurmNumber(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  if (text == nullptr && otherwise >= 0) return otherwise;
  if (text == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        name,
        " is not set: this is no task of a Slurm job array; submit one (sbatch --array=0-4 ...), or write the "
        "shard as index/count, e.g. 0/4, or leave it out to train all seeds"));
  }
  int64_t value = 0;
  if (!absl::SimpleAtoi(text, &value) || value < 0 || value > kMostTasks) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, " is \"", text, "\"; must be a whole number, as Slurm sets it in a job array"));
  }
  return value;
}

}  // namespace

bool IsSlurmTask() { return std::getenv(kTaskId) != nullptr; }

absl::StatusOr<Shard> SlurmShard() {
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t task, SlurmNumber(kTaskId, -1));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t count, SlurmNumber("SLURM_ARRAY_TASK_COUNT", -1));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t first, SlurmNumber("SLURM_ARRAY_TASK_MIN", 0));
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t told_step, SlurmNumber("SLURM_ARRAY_TASK_STEP", 1));
  const int64_t step = std::max<int64_t>(1, told_step);
  PRUNELAB_ASSIGN_OR_RETURN(const int64_t last,
                            SlurmNumber("SLURM_ARRAY_TASK_MAX", first + std::max<int64_t>(0, count - 1) * step));
  const bool even = last >= first && (last - first) / step + 1 == count;
  if (!even || task < first || task > last || (task - first) % step != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "task ", task, " of a Slurm array of ", count, count == 1 ? " task" : " tasks", " from ", first, " to ", last,
        step == 1 ? "" : absl::StrCat(" in steps of ", step),
        ", which is not without gaps: which share is this task's cannot be told; number the tasks without gaps, e.g. "
        "--array=0-",
        std::max<int64_t>(1, count) - 1, ", or give each its --shard=index/", std::max<int64_t>(1, count)));
  }
  Shard shard;
  shard.index = (task - first) / step;
  shard.count = count;
  shard.name = first <= 1 && step == 1
                   ? absl::StrCat("task ", task, " of ", count, " of a Slurm array")
                   : absl::StrCat("task ", task, " of a Slurm array of ", count, " from ", first, " to ", last);
  return shard;
}

absl::StatusOr<Shard> ParseShard(absl::string_view text) {
  if (text == "slurm") return SlurmShard();
  const std::vector<absl::string_view> parts = absl::StrSplit(text, '/');
  Shard shard;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &shard.index) || !absl::SimpleAtoi(parts[1], &shard.count) ||
      shard.count < 1 || shard.index < 0 || shard.index >= shard.count) {
    return absl::InvalidArgumentError(absl::StrCat("\"", text,
                                                   "\" is no shard; write index/count with the index counting from 0, "
                                                   "e.g. 0/4, 1/4, 2/4, 3/4, or slurm in a task of a Slurm array"));
  }
  shard.name = absl::StrCat("shard ", shard.index, "/", shard.count);
  return shard;
}

std::vector<int64_t> SeedsOf(const Shard& shard, const Seeds& seeds) {
  std::vector<int64_t> own;
  for (int64_t i = shard.index; i < seeds.count(); i += shard.count) own.push_back(seeds.first() + i);
  return own;
}

std::string ShardText(const Shard& shard, const Seeds& seeds) {
  constexpr size_t kShown = 8;
  const std::vector<int64_t> own = SeedsOf(shard, seeds);
  std::string list = absl::StrJoin(own.begin(), own.begin() + std::min(own.size(), kShown), ", ");
  if (own.size() > kShown) absl::StrAppend(&list, ", ... (", own.size(), " of ", seeds.count(), ")");
  return absl::StrCat(shard.name, ": seeds ", list, " (--shard=", shard.index, "/", shard.count,
                      "; without --shard all are trained)");
}

absl::Status CheckShard(const Shard& shard, const Seeds& seeds) {
  if (shard.index < seeds.count()) return absl::OkStatus();
  const std::string list = seeds.count() == 1 ? absl::StrCat("one seed, ", seeds.first())
                                              : absl::StrCat(seeds.count(), " seeds, ", seeds.first(), " to ",
                                                             seeds.first() + seeds.count() - 1);
  return absl::InvalidArgumentError(absl::StrCat(shard.name, ": has no seed to train, since the sweep has ", list,
                                                 "; make at most ", seeds.count(), " shares of it"));
}

}  // namespace prunelab
