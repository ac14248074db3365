// What a process does that torchrun or srun has started as a rank other than 0: it trains along with each run that rank
// 0 trains, in a worker process, until rank 0 says that all is done.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/runs/run.pb.h"
#include "experiments/sweep/rank_options.h"
#include "ml/distributed/rank_store.h"

namespace prunelab {

// The store of a launched call: rank 0 keeps it, unless the launcher does.
// Waits for rank 0, and says so, until `stop`. Errors: DeadlineExceeded, it has not come; Cancelled, `stop` said so.
absl::StatusOr<std::unique_ptr<RankStore>> OpenLaunchedStore(const RankOptions& options,
                                                             const std::function<bool()>& stop);

// The GPU, of those that this process sees, of its rank. Errors: there is none for it.
absl::StatusOr<std::string> GpuOfRank(const RankOptions& options, const std::vector<std::string>& gpus);

// Rank 0's side: request number `index`, from 0 on, for all others, which end what they are at; and, when all is done,
// their end, which is waited for.
absl::Status PublishRequest(RankStore& store, const RankOptions& options, int64_t index, const RunRequest& request);
enum class RanksEnd { kAllDone, kFailed, kStopped };
void EndFollowers(RankStore& store, const RankOptions& options, RanksEnd end);

// Whether the processes that were started as the other ranks live; to be asked about once a second.
class FollowersAlive {
 public:
  FollowersAlive(RankStore& store, const RankOptions& options);
  // Errors: Unavailable, one that was there has given no sign of life for as long as a rank may.
  absl::Status Look();

 private:
  RankStore& store_;
  const RankOptions& options_;
  std::vector<std::string> beats_;
  std::vector<double> silent_;  // seconds
  double looked_;
};
// What a process of another rank said that ended while request number `index` was trained, other than well; no value:
// none has.
std::optional<std::string> FollowersEnd(RankStore& store, const RankOptions& options, int64_t index);

// The other side. `stop` is called often: true asks the worker to stop, which stops all ranks' workers, and ends this.
// Errors: DeadlineExceeded or Unavailable, rank 0 cannot be reached; Cancelled, if `stop` said so; Aborted, rank 0 has
// ended before all was done.
absl::Status FollowRanks(const RankOptions& options, const std::vector<std::string>& worker_command,
                         const std::function<bool()>& stop);

}  // namespace prunelab
