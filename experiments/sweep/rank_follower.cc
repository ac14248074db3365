#include "experiments/sweep/rank_follower.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
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
#include "ml/base/steady_seconds.h"
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

// What the end says.
constexpr char kAllDone[] = "all is done", kNotDone[] = "not all is done";

std::string BeatName(const RankOptions& options, int64_t rank) { return NameOf(options, absl::StrCat("alive/", rank)); }

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

absl::Status OrRankZeroGone(const RankOptions& options, const absl::Status& status) {
  if (status.ok()) return status;
  return absl::UnavailableError(absl::StrCat("rank ", options.rank, ": rank 0 at ", options.address, ":", options.port,
                                             " has gone; start all ranks again: the same command goes on"));
}

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

FollowersAlive::FollowersAlive(RankStore& store, const RankOptions& options)
    : store_(store), options_(options), beats_(options.count), silent_(options.count, 0), looked_(SteadySeconds()) {}

absl::Status FollowersAlive::Look() {
  const double now = SteadySeconds();
  // Of a time in which this process did not look, little counts.
  const double seconds = std::min(now - std::exchange(looked_, now), 2.0);
  for (int64_t rank = 1; rank < options_.count; ++rank) {
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<std::string> beat, store_.Get(BeatName(options_, rank)));
    if (!beat) continue;  // it has not come yet
    silent_[rank] = *beat == beats_[rank] ? silent_[rank] + seconds : 0;
    beats_[rank] = *beat;
    // A worker of its own would be missed after that time, which says more.
    if (silent_[rank] <= options_.silence_seconds + 5) continue;
    return absl::UnavailableError(absl::StrCat("the process that was started as rank ", rank,
                                               " has given no sign of life for ", static_cast<int64_t>(silent_[rank]),
                                               " s; start all ranks again: the same command goes on"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> GpuOfRank(const RankOptions& options, const std::vector<std::string>& gpus) {
  const auto count = static_cast<int64_t>(gpus.size());
  if (count == 1 && options.ranks_here == 1) return gpus[0];  // each sees its own, as Slurm's tasks may
  if (options.local_rank < count) return gpus[options.local_rank];
  return absl::InvalidArgumentError(absl::StrCat("rank ", options.rank, ", the ", options.local_rank + 1,
                                                 ". of its machine, sees ", count, count == 1 ? " GPU" : " GPUs",
                                                 " there; each rank needs one of its own, or use --device=cpu"));
}

absl::StatusOr<std::unique_ptr<RankStore>> OpenLaunchedStore(const RankOptions& options,
                                                             const std::function<bool()>& stop) {
  if (options.rank == 0 && !options.store_is_there) return RankStore::Serve(options.port);
  constexpr double kAttempt = 3;  // seconds, in which a signal waits
  const double begin = SteadySeconds();
  for (bool said = false;;) {
    absl::StatusOr<std::unique_ptr<RankStore>> store = RankStore::Connect(options.address, options.port, kAttempt);
    if (store.ok()) return store;
    if (stop && stop()) return absl::CancelledError("stopped, as was asked");
    if (SteadySeconds() - begin > options.join_seconds) {
      return absl::DeadlineExceededError(absl::StrCat("rank ", options.rank, " gives up after ", options.join_seconds,
                                                      " s: ", store.status().message()));
    }
    if (!said) std::cerr << "rank " << options.rank << " waits: " << store.status().message() << std::endl;
    said = true;
    std::this_thread::sleep_for(kLookPeriod);
  }
}

absl::Status PublishRequest(RankStore& store, const RankOptions& options, int64_t index, const RunRequest& request) {
  return store.Set(RequestName(options, index), request.SerializeAsString());
}

void EndFollowers(RankStore& store, const RankOptions& options, RanksEnd end) {
  if (!store.Set(NameOf(options, "end"), end == RanksEnd::kAllDone ? kAllDone : kNotDone).ok()) return;
  // The store ends with this process. They ask it until they have heard, and some may only be starting.
  const std::chrono::seconds patience(end == RanksEnd::kAllDone ? 60 : 5);
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (int64_t rank = 1; rank < options.count; ++rank) {
    for (;;) {
      const auto gone = store.Get(NameOf(options, absl::StrCat("gone/", rank)));
      if (!gone.ok() || *gone || std::chrono::steady_clock::now() > deadline) break;
      // After a stop signal, which leaves little time, one that has not come is not waited for.
      const auto beat = store.Get(BeatName(options, rank));
      if (end == RanksEnd::kStopped && beat.ok() && !*beat) break;
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
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<RankStore> store, OpenLaunchedStore(options, stop));
  std::optional<WorkerProcess> worker;
  std::optional<std::chrono::steady_clock::time_point> stopping_until;
  AnswerGuard guard(options);
  double shown = 0;
  for (int64_t next = 0, beat = 0;; guard.Answered()) {
    if (SteadySeconds() - shown >= 1) {
      shown = SteadySeconds();
      PRUNELAB_RETURN_IF_ERROR(
          OrRankZeroGone(options, store->Set(BeatName(options, options.rank), absl::StrCat(++beat))));
    }
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
    PRUNELAB_RETURN_IF_ERROR(OrRankZeroGone(options, request.status()));
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
      (void)store->Set(NameOf(options, absl::StrCat("gone/", options.rank)), "1");
      return *end == kAllDone ? absl::OkStatus() : absl::AbortedError("rank 0 has ended before all runs were done");
    }
    std::this_thread::sleep_for(kLookPeriod);
  }
}

}  // namespace prunelab
