#include "experiments/sweep/rank_follower.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <iostream>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "experiments/sweep/gpus.h"
#include "experiments/sweep/worker.h"
#include "experiments/sweep/worker_process.h"
#include "ml/base/status_macros.h"
#include "ml/distributed/ranks.h"

namespace prunelab {
namespace {

constexpr std::chrono::milliseconds kLookPeriod(100);
constexpr std::chrono::seconds kStopTime(20);

std::string NameOf(const RankOptions& options, const std::string& rest) {
  return absl::StrCat("prunelab/", options.attempt, "/", rest);
}

std::string RequestName(const RankOptions& options, int64_t index) {
  return NameOf(options, absl::StrCat("request/", index));
}

std::string EndName(const RankOptions& options, int64_t index) {
  return NameOf(options, absl::StrCat("ended/", index));
}

// Ends this process, and by that its worker, if its calls of the store get no answer: they block while the way to rank
// 0 is cut.
class AnswerGuard {
 public:
  explicit AnswerGuard(const RankOptions& options) : options_(options), thread_([this] { Guard(); }) {}
  ~AnswerGuard() {
    ending_ = true;
    thread_.join();
  }
  void Answered() { unanswered_ = 0; }

 private:
  void Guard() {
    constexpr double kSeconds = 0.1;
    while (!ending_) {
      std::this_thread::sleep_for(std::chrono::duration<double>(kSeconds));
      unanswered_ = unanswered_ + kSeconds;  // of a time in which this process was frozen, nothing counts
      // The worker, if there is one, says it first.
      if (unanswered_ < options_.silence_seconds + 5) continue;
      std::cerr << "rank " << options_.rank << ": rank 0 at " << options_.address << ":" << options_.port
                << " has not answered for " << options_.silence_seconds
                << " s: its machine is down or frozen, or cannot be reached" << std::endl;
      _exit(kLostRankStatus);
    }
  }

  const RankOptions& options_;
  std::atomic<double> unanswered_{0};
  std::atomic<bool> ending_{false};
  std::thread thread_;
};

absl::StatusOr<WorkerProcess> StartRank(const RankOptions& options, const std::vector<std::string>& command,
                                        RunRequest request) {
  request.mutable_ranks()->set_rank(options.rank);
  std::vector<std::string> environment = {absl::StrCat("OMP_NUM_THREADS=", request.threads())};
  if (request.device() == "cuda") {
    PRUNELAB_ASSIGN_OR_RETURN(const std::string gpu, GpuOfRank(options, GpusFor(at::kCUDA)));
    environment.push_back(absl::StrCat("CUDA_VISIBLE_DEVICES=", gpu));
  }
  return WorkerProcess::Start(command, environment, {}, request.SerializeAsString());
}

}  // namespace

absl::StatusOr<std::string> GpuOfRank(const RankOptions& options, const std::vector<std::string>& gpus) {
  const auto count = static_cast<int64_t>(gpus.size());
  if (count == 1 && options.ranks_here == 1) return gpus[0];  // each sees its own, as Slurm's tasks may
  if (options.local_rank < count) return gpus[options.local_rank];
  return absl::InvalidArgumentError(absl::StrCat("rank ", options.rank, ", the ", options.local_rank + 1,
                                                 ". of its machine, sees ", count, count == 1 ? " GPU" : " GPUs",
                                                 " there; each rank needs one of its own, or use --device=cpu"));
}

absl::StatusOr<std::unique_ptr<RankStore>> OpenLaunchedStore(const RankOptions& options) {
  if (options.rank == 0 && !options.store_is_there) return RankStore::Serve(options.port);
  return RankStore::Connect(options.address, options.port, options.join_seconds);
}

absl::Status PublishRequest(RankStore& store, const RankOptions& options, int64_t index, const RunRequest& request) {
  return store.Set(RequestName(options, index), request.SerializeAsString());
}

void EndFollowers(RankStore& store, const RankOptions& options, std::chrono::seconds patience) {
  if (!store.Set(NameOf(options, "end"), "1").ok()) return;
  // The store ends with this process. They ask it until they have heard, and some may only be starting.
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (int64_t rank = 1; rank < options.count; ++rank) {
    for (;;) {
      const auto gone = store.Get(NameOf(options, absl::StrCat("gone/", rank)));
      if (!gone.ok() || *gone || std::chrono::steady_clock::now() > deadline) break;
      std::this_thread::sleep_for(kLookPeriod);
    }
  }
}

std::optional<std::string> FollowersEnd(RankStore& store, const RankOptions& options, int64_t index) {
  const absl::StatusOr<std::optional<std::string>> end = store.Get(EndName(options, index));
  return end.ok() ? *end : std::nullopt;
}

absl::Status FollowRanks(const RankOptions& options, const std::vector<std::string>& worker_command,
                         const std::function<bool()>& stop) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<RankStore> store, OpenLaunchedStore(options));
  std::optional<WorkerProcess> worker;
  std::optional<std::chrono::steady_clock::time_point> stopping_until;
  AnswerGuard guard(options);
  for (int64_t next = 0;; guard.Answered()) {
    if (worker && worker->Ended()) {
      const std::string errors = worker->LastErrors();
      if (!errors.empty()) std::cerr << "rank " << options.rank << ": " << errors << std::endl;
      if (worker->wait_status() != 0) {
        const std::string end = errors.empty() ? absl::StrCat("rank ", options.rank, ": ", worker->EndText()) : errors;
        PRUNELAB_RETURN_IF_ERROR(store->Set(EndName(options, next - 1), end));
      }
      worker.reset();
    }
    if (stop && stop()) {
      if (!stopping_until) stopping_until = std::chrono::steady_clock::now() + kStopTime;
      // It stops after its step, but not while it waits for others or for its data.
      if (worker) worker->Signal(std::chrono::steady_clock::now() > *stopping_until ? SIGKILL : SIGTERM);
      // Rank 0 still writes the checkpoint. Whoever started the ranks may end all when one has ended.
      const auto end = store->Get(NameOf(options, "end"));
      if (!worker && (!end.ok() || *end || std::chrono::steady_clock::now() > *stopping_until)) {
        if (end.ok()) (void)store->Set(NameOf(options, absl::StrCat("gone/", options.rank)), "1");
        return absl::CancelledError("stopped, as was asked");
      }
    }
    if (worker) worker->ReadLines();
    absl::StatusOr<std::optional<std::string>> request = store->Get(RequestName(options, next));
    // Without rank 0 there is nothing to wait for.
    if (!request.ok()) return request.status();
    if (*request) {
      PRUNELAB_ASSIGN_OR_RETURN(RunRequest run, ParseRunRequest(**request));
      if (worker) {  // of an attempt that rank 0 has given up
        worker->Signal(SIGKILL);
        while (!worker->Ended()) std::this_thread::sleep_for(kLookPeriod);
      }
      PRUNELAB_ASSIGN_OR_RETURN(worker, StartRank(options, worker_command, std::move(run)));
      ++next;
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<std::string> end, store->Get(NameOf(options, "end")));
    if (end && !worker) {
      return store->Set(NameOf(options, absl::StrCat("gone/", options.rank)), "1");
    }
    std::this_thread::sleep_for(kLookPeriod);
  }
}

}  // namespace prunelab
