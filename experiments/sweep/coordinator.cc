#include "experiments/sweep/coordinator.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/config/source_arm.h"
#include "experiments/runs/run.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/sweep/code_revision.h"
#include "experiments/sweep/collected_results.h"
#include "experiments/sweep/core_claim.h"
#include "experiments/sweep/gpus.h"
#include "experiments/sweep/progress.h"
#include "experiments/sweep/rank_follower.h"
#include "experiments/sweep/run_queue.h"
#include "experiments/sweep/search_runs.h"
#include "experiments/sweep/shared_crashes.h"
#include "experiments/sweep/worker.h"
#include "experiments/sweep/worker_process.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/distributed/rank_store.h"
#include "ml/distributed/ranks.h"

namespace prunelab {
namespace {

using Clock = std::chrono::steady_clock;

// How long a stopped worker has for its step and its checkpoint. On a GPU the step may be one that captures graphs, the
// steps that were given to the device are done first, and other processes may share it.
constexpr std::chrono::seconds kStopTime(10), kStopTimeOnGpu(60);

// How long the ranks of one machine may take to start, in seconds.
constexpr double kJoinHere = 60;

// The runs without a result, seed by seed.
std::vector<size_t> TrainingOrder(const Sweep& sweep) {
  std::vector<size_t> order;
  for (size_t i = 0; i < sweep.runs.size(); ++i) {
    if (!sweep.results[i]) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return sweep.runs[a].seed < sweep.runs[b].seed; });
  return order;
}

std::optional<SearchRuns> SearchOf(const Sweep& sweep) {
  if (!sweep.loaded.ablation.has_search()) return std::nullopt;
  return SearchRuns(sweep.loaded, sweep.options, sweep.runs);
}

ProgressDisplay MakeDisplay(const Sweep& sweep, const std::optional<SearchRuns>& search) {
  const auto runs = static_cast<int64_t>(sweep.runs.size());
  if (search) {
    const auto begun = std::count_if(sweep.runs.begin(), sweep.runs.end(), [](const PlannedRun& run) {
      return PathExists(JoinPath(run.folder, "epochs.jsonl"));
    });
    return ProgressDisplay(sweep.options.terminal, runs, begun, search->images_left());
  }
  int64_t done = 0;
  double images = 0;  // to train
  for (size_t i = 0; i < sweep.runs.size(); ++i) {
    done += sweep.results[i].has_value();
    if (!sweep.results[i]) images += sweep.runs[i].images;
  }
  return ProgressDisplay(sweep.options.terminal, runs, done, images);
}

absl::StatusOr<FileLock> TakeRunLock(const PlannedRun& run) {
  return FileLock::Take(JoinPath(run.folder, kRunLock), FileLock::Kind::kExclusive);
}

class Coordinator {
 public:
  explicit Coordinator(Sweep sweep)
      : sweep_(std::move(sweep)),
        code_revision_(CodeRevision()),
        search_(SearchOf(sweep_)),
        display_(MakeDisplay(sweep_, search_)),
        queue_(search_ ? std::vector<size_t>() : TrainingOrder(sweep_)),
        crashes_(runs().size(), 0) {}

  absl::StatusOr<AblationOutcome> TrainAll() {
    PRUNELAB_RETURN_IF_ERROR(search_ ? GoOnSearching() : Collect());
    PRUNELAB_RETURN_IF_ERROR(options().worker_command.empty() ? TrainHere() : TrainInWorkers());
    outcome_.results = Results();
    if (search_) {
      outcome_.search = search_->Outcome();
      outcome_.hours_are_over = search_->hours_are_over();
    }
    return std::move(outcome_);
  }

 private:
  struct Worker {
    size_t index;  // of its run
    CoreClaim claim;
    WorkerProcess process;              // rank 0's, which says how far the run is, and whose end is the run's
    std::vector<WorkerProcess> others;  // the other ranks' on this machine
    std::optional<size_t> gpu;          // of the sweep's
    Clock::time_point started;
    int64_t meeting = 0;
    std::optional<Clock::time_point> others_ended;  // since when another rank's process is known to have ended badly
    std::string others_errors;                      // what it said
  };

  const RunnerOptions& options() const { return sweep_.options; }
  const std::vector<PlannedRun>& runs() const { return sweep_.runs; }
  bool OnGpus() const { return !sweep_.gpus.empty(); }
  bool Stopping() const { return options().stop && options().stop(); }

  // The output folder may vanish. A new one in its place would not be locked and, if a file system was unmounted, its
  // results would be hidden below the mount. So nothing is written there.
  absl::Status CheckFolder() const {
    for (const FileLock& lock : sweep_.locks) {
      const absl::Status status = lock.CheckInPlace();
      if (!status.ok()) {
        return absl::NotFoundError(absl::StrCat(options().output, ": has vanished while its runs were trained; ",
                                                status.message(), "; bring it back, then run the same command again"));
      }
    }
    return absl::OkStatus();
  }

  RunRequest Request(const PlannedRun& run) const {
    RunRequest request;
    request.set_folder(run.folder);
    request.set_arm(run.arm->name);
    request.set_seed(run.seed);
    *request.mutable_config() = run.arm->config;
    request.set_run_id(run.run_id);
    request.set_device(OnGpus() ? "cuda" : "cpu");
    request.set_threads(ThreadsForWork(run.macs * run.arm->config.training().batch_size() / options().ranks.count,
                                       sweep_.allotment.threads));
    request.set_code_revision(code_revision_);
    request.set_source_folder(run.source_folder);
    request.set_source_run_id(run.sources.source_run_id);
    request.set_pause_after(search_ ? search_->epochs(IndexOf(run)) : 0);
    RunRanks& ranks = *request.mutable_ranks();
    ranks.set_rank(0);
    ranks.set_count(options().ranks.count);
    ranks.set_address(options().ranks.launched ? options().ranks.address : "127.0.0.1");
    ranks.set_port(store_ != nullptr ? store_->port() : 0);
    ranks.set_meeting("");
    ranks.set_silence_seconds(options().ranks.silence_seconds);
    // Processes of this machine all start now, and join before they read any data.
    ranks.set_join_seconds(options().ranks.launched ? options().ranks.join_seconds : kJoinHere);
    return request;
  }

  std::vector<RunResult> Results() const {
    std::vector<RunResult> results;
    for (size_t i = 0; i < runs().size(); ++i) {
      results.push_back(sweep_.results[i].value_or(MissingResult(runs()[i].arm->name, runs()[i].seed)));
    }
    return results;
  }

  absl::Status Collect() const { return CollectResults(sweep_.loaded, options(), runs(), Results()); }

  // `ours`: this call trained it.
  absl::Status Finish(size_t index, RunResult result, bool ours = true) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const PlannedRun& run = runs()[index];
    outcome_.trained += ours;
    outcome_.failed += result.status == "failed";
    if (result.status != "failed") AddTiming(run.folder, result);
    const Measures& measures = result.measures;
    std::string text = absl::StrCat(result.status, result.message.empty() ? "" : ": ", result.message);
    if (result.status == "done" && measures.has_test_top1()) {
      text = absl::StrFormat("test %.2f %%", 100 * measures.test_top1());
    } else if (result.status == "done" && measures.has_validation_top1()) {
      text = absl::StrFormat("validation %.2f %%", 100 * measures.validation_top1());
    }
    if (!ours) text += ", trained by another process";
    sweep_.results[index] = std::move(result);
    queue_.Return(index);
    display_.End(run.name(), text, /*done=*/!search_ || search_->is_first(index));
    pending_.erase(index);
    if (search_ && sweep_.results[index]->status == "failed") search_->SetFailed(index);
    const absl::Status written = search_ ? GoOnSearching() : Collect();
    if (!written.ok()) PRUNELAB_RETURN_IF_ERROR(CheckFolder());  // says more than that a file cannot be created
    return written;
  }

  size_t IndexOf(const PlannedRun& run) const { return static_cast<size_t>(&run - runs().data()); }

  // How many images training the run will take, as far as it is wanted.
  double ImagesOf(size_t index) const { return search_ ? search_->images(index) : runs()[index].images; }

  // Of a search: lets the runs wait that its scores now want, and writes what it has come to.
  absl::Status GoOnSearching() {
    TakeResultsOfOthers();
    for (const size_t run : search_->TakeWanted(pending_)) {
      if (stop_deadline_) continue;
      queue_.Add(run);
      pending_.insert(run);
    }
    if (search_->hours_are_over()) queue_.Clear();
    PRUNELAB_RETURN_IF_ERROR(Collect());
    return search_->Write();
  }

  // Runs of a search that have ended elsewhere, e.g. in other shards, or failed before, may never be wanted here.
  void TakeResultsOfOthers() {
    for (size_t i = 0; i < runs().size(); ++i) {
      if (sweep_.results[i] || pending_.count(i)) continue;
      absl::StatusOr<RunResult> result = ReadResult(runs()[i].folder);
      if (!result.ok() || result->run_id != runs()[i].run_id) continue;
      outcome_.failed += result->status == "failed";
      AddTiming(runs()[i].folder, *result);
      sweep_.results[i] = *std::move(result);
    }
  }

  // Of a search: what the run has come to, if it has come as far as it is wanted for now.
  std::optional<TrialScore> ScoreHere(size_t index) { return search_ ? search_->Score(index) : std::nullopt; }

  // The run stays as it is until the search wants more of it, if it ever does.
  absl::Status Pause(size_t index, const TrialScore& score, bool ours) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    outcome_.trained += ours;
    queue_.Return(index);
    pending_.erase(index);
    display_.End(runs()[index].name(), search_->ScoreText(index, score) + (ours ? "" : ", trained by another process"),
                 /*done=*/search_->is_first(index));
    return GoOnSearching();
  }

  // A run that ended without a result is counted as well, unless another process has resumed or even finished it in the
  // meantime.
  absl::Status Fail(size_t index, const std::string& message) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const PlannedRun& run = runs()[index];
    RunResult result;
    result.arm = run.arm->name;
    result.seed = run.seed;
    result.run_id = run.run_id;
    result.status = "failed";
    result.message = message;
    const absl::Status made = CreateFolders(run.folder);
    const absl::StatusOr<FileLock> lock = made.ok() ? TakeRunLock(run) : made;
    if (absl::IsFailedPrecondition(lock.status())) {
      display_.End(run.name(), message, /*done=*/false);
      LeaveToOthers(index, lock.status());
      return absl::OkStatus();
    }
    // If even this cannot be written, the message at the end has to be enough.
    const absl::StatusOr<RunResult> kept = lock.ok() ? KeepResult(run.folder, result) : lock.status();
    // A failure does not replace the result of a run that was to be trained further, either.
    if (!kept.ok() && !absl::IsAlreadyExists(kept.status())) display_.Say(std::string(kept.status().message()));
    return Finish(index, kept.ok() ? *kept : std::move(result));
  }

  // Another process trains the run, e.g. for another shard: look at it again later.
  void LeaveToOthers(size_t index, const absl::Status& held) {
    if (!queue_.LeaveToOthers(index)) return;
    display_.Say(absl::StrCat(runs()[index].name(), ": another process trains it, its result is waited for (",
                              held.message(), ")"));
  }

  // Whether a waiting run is ours to train: another process may be training it, or may have finished it.
  absl::StatusOr<bool> IsOurs(size_t index) {
    const PlannedRun& run = runs()[index];
    const absl::StatusOr<FileLock> lock = TakeRunLock(run);
    // Another process may have come that far, and be training it on.
    if (const std::optional<TrialScore> score = ScoreHere(index); score && !ReadResult(run.folder).ok()) {
      display_.Start(run.name(), ImagesOf(index));
      PRUNELAB_RETURN_IF_ERROR(Pause(index, *score, /*ours=*/false));
      return false;
    }
    if (absl::IsFailedPrecondition(lock.status())) {
      LeaveToOthers(index, lock.status());
      return false;
    }
    queue_.Return(index);
    const absl::StatusOr<RunState> there = LookAt(run);
    if (!there.ok()) {
      PRUNELAB_RETURN_IF_ERROR(Fail(index, std::string(there.status().message())));
      return false;
    }
    if (!there->result) return true;
    // Those that start from this run read its folder.
    PRUNELAB_RETURN_IF_ERROR(FinishFurther(run.folder));
    display_.Start(run.name(), ImagesOf(index));
    PRUNELAB_RETURN_IF_ERROR(Finish(index, *there->result, /*ours=*/false));
    return false;
  }

  // Creates the folder of a run that is to be started, or fails the run. A worker, which takes seconds to start, does
  // not create it, because it might then replace a folder that has vanished.
  absl::StatusOr<bool> MakeFolder(size_t index) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const absl::Status made = CreateFolders(runs()[index].folder);
    if (made.ok()) return true;
    PRUNELAB_RETURN_IF_ERROR(Fail(index, std::string(made.message())));
    return false;
  }

  // Takes a run to train: one that does not wait for another one, whose folder exists and belongs to this
  // process. No value if none is left, or all that are left wait for others. A run whose source has ended without a
  // network fails.
  absl::StatusOr<std::optional<size_t>> NextRun() {
    const auto ready = [&](size_t index) {
      const int source = runs()[index].source;
      return source < 0 || sweep_.results[source].has_value();
    };
    while (const std::optional<size_t> index = queue_.Take(ready)) {
      const int source = runs()[*index].source;
      if (source >= 0 && sweep_.results[source]->status != "done") {
        PRUNELAB_RETURN_IF_ERROR(
            Fail(*index, absl::StrCat("the run that it ", SourceVerb(runs()[*index].arm->config), ", ",
                                      runs()[source].name(), ", ", sweep_.results[source]->status)));
        continue;
      }
      PRUNELAB_ASSIGN_OR_RETURN(const bool made, MakeFolder(*index));
      if (!made) continue;
      PRUNELAB_ASSIGN_OR_RETURN(const bool ours, IsOurs(*index));
      if (ours) return index;
    }
    return std::optional<size_t>();
  }

  absl::Status TrainHere() {
    while (!queue_.empty()) {
      if (Stopping()) outcome_.stopped = true;
      if (outcome_.stopped) return absl::OkStatus();
      queue_.LookElsewhere();
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<size_t> next, NextRun());
      if (next) {
        PRUNELAB_RETURN_IF_ERROR(TrainHere(*next));
      } else if (!queue_.empty()) {
        std::this_thread::sleep_for(
            RunQueue::kLookPeriod);  // other processes train everything that is left, or it waits for them
      }
    }
    return absl::OkStatus();
  }

  absl::Status TrainHere(size_t index) {
    const PlannedRun& run = runs()[index];
    display_.Start(run.name(), ImagesOf(index));
    RunHooks hooks;
    hooks.stop = options().stop;
    hooks.on_progress = [&](const RunProgress& progress) {
      display_.Update(run.name(), progress);
      display_.Refresh();
    };
    hooks.on_warning = [&](const std::string& warning) { display_.Say(warning); };
    absl::StatusOr<RunResult> result = TrainRun(Request(run), *run.dataset, hooks);
    if (absl::IsCancelled(result.status())) {
      if (const std::optional<TrialScore> score = ScoreHere(index)) return Pause(index, *score, /*ours=*/true);
      display_.End(run.name(), "stopped", /*done=*/false);
      outcome_.stopped = true;
      return absl::OkStatus();
    }
    if (absl::IsUnavailable(result.status())) {
      display_.End(run.name(), "is trained by another process", /*done=*/false);
      LeaveToOthers(index, result.status());
      return absl::OkStatus();
    }
    return result.ok() ? Finish(index, *std::move(result)) : Fail(index, std::string(result.status().message()));
  }

  absl::Status TrainInWorkers() {
    store_ = options().launched_store;
    if (store_ != nullptr) followers_.emplace(*store_, options().ranks);
    if (options().ranks.count > 1 && !options().ranks.launched) {
      PRUNELAB_ASSIGN_OR_RETURN(store_, RankStore::ServeHere());
    }
    while (!workers_.empty() || (!queue_.empty() && !stop_deadline_)) {
      if (!stop_deadline_ && Stopping()) {
        display_.Say("Stopping: the runs in progress write checkpoints.");
        stop_deadline_ = Clock::now() + (OnGpus() ? kStopTimeOnGpu : kStopTime);
        outcome_.stopped = true;
        queue_.Clear();
      }
      if (stop_deadline_) {
        StopWorkers();
      } else {
        queue_.LookElsewhere();
        PRUNELAB_RETURN_IF_ERROR(StartWorkers());
      }
      WaitForOutput();
      PRUNELAB_RETURN_IF_ERROR(HearWorkers());
      display_.Refresh();
    }
    return absl::OkStatus();
  }

  absl::Status StartWorkers() {
    while (!queue_.none_here() && static_cast<int64_t>(workers_.size()) < sweep_.allotment.jobs) {
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<size_t> next, NextRun());
      if (!next) return absl::OkStatus();
      PRUNELAB_RETURN_IF_ERROR(StartWorker(*next));
    }
    return absl::OkStatus();
  }

  absl::Status StartWorker(size_t index) {
    const PlannedRun& run = runs()[index];
    CoreClaim claim = ClaimCores();
    RunRequest request = Request(run);
    // Each attempt is another meeting.
    request.mutable_ranks()->set_meeting(MeetingName(meetings_));
    std::vector<std::string> environment = {absl::StrCat("OMP_NUM_THREADS=", request.threads())};
    const std::optional<size_t> gpu = ChooseGpu();
    const auto environment_of = [&](int64_t rank) {
      std::vector<std::string> variables = environment;
      if (gpu) variables.push_back(absl::StrCat("CUDA_VISIBLE_DEVICES=", sweep_.gpus[*gpu + rank]));
      return variables;
    };
    // A process that is killed while a GPU computes for it may take along others that share the GPU, so it is asked to
    // end, which it does after its step.
    const int parent_death_signal = gpu ? SIGTERM : SIGKILL;
    PRUNELAB_ASSIGN_OR_RETURN(WorkerProcess process,
                              WorkerProcess::Start(options().worker_command, environment_of(0), claim.cores(),
                                                   request.SerializeAsString(), parent_death_signal));
    workers_.push_back({index, std::move(claim), std::move(process), {}, gpu, Clock::now(), meetings_, {}, {}});
    Worker& worker = workers_.back();
    if (options().ranks.launched && store_ != nullptr) {
      PRUNELAB_RETURN_IF_ERROR(PublishRequest(*store_, options().ranks, meetings_, request));
    }
    for (int64_t rank = 1; !options().ranks.launched && rank < options().ranks.count; ++rank) {
      request.mutable_ranks()->set_rank(rank);
      PRUNELAB_ASSIGN_OR_RETURN(
          WorkerProcess other,
          WorkerProcess::Start(options().worker_command, environment_of(rank), worker.claim.cores(),
                               request.SerializeAsString(), parent_death_signal));
      worker.others.push_back(std::move(other));
    }
    ++meetings_;
    display_.Start(run.name(), ImagesOf(index));
    return absl::OkStatus();
  }

  std::string MeetingName(int64_t meeting) const {
    return absl::StrCat("prunelab/", options().ranks.attempt, "/", meeting);
  }

  // The GPU of the next worker, the first of as many as it has ranks here; no value on the CPU.
  std::optional<size_t> ChooseGpu() const {
    if (!OnGpus()) return std::nullopt;
    if (options().ranks.launched) return 0;  // the only one that it was given
    const auto ranks = static_cast<size_t>(sweep_.allotment.ranks);
    std::vector<int64_t> workers(sweep_.gpus.size() / ranks, 0);
    for (const Worker& worker : workers_) ++workers[*worker.gpu / ranks];
    return LeastBusyGpu(workers) * ranks;
  }

  // Each worker has cores of its own if there are enough. A single one runs wherever the system puts it, and so do
  // those for which other coordinators on this machine have left too few.
  CoreClaim ClaimCores() const {
    const int64_t jobs = sweep_.allotment.jobs, threads = sweep_.allotment.threads * sweep_.allotment.ranks;
    const std::vector<int> allowed = CoreClaim::Allowed();
    const bool enough = jobs > 1 && jobs * threads <= static_cast<int64_t>(allowed.size());
    return enough ? CoreClaim::Take(allowed, threads) : CoreClaim();
  }

  // To be called again and again: a worker that is between fork and exec takes a signal by this process's handler, to
  // no effect.
  void StopWorkers() {
    const int signal = Clock::now() > *stop_deadline_ ? SIGKILL : SIGTERM;
    for (const Worker& worker : workers_) {
      worker.process.Signal(signal);
      for (const WorkerProcess& other : worker.others) other.Signal(signal);
    }
  }

  void WaitForOutput() const {
    std::vector<pollfd> files;
    const auto add = [&](const WorkerProcess& process) {
      for (const int fd : {process.output(), process.errors()}) {
        if (fd >= 0) files.push_back({fd, POLLIN, 0});
      }
    };
    for (const Worker& worker : workers_) {
      add(worker.process);
      for (const WorkerProcess& other : worker.others) add(other);
    }
    poll(files.data(), files.size(), 100);  // a signal that interrupts it is looked at by Stopping
  }

  absl::Status HearWorkers() {
    for (size_t i = 0; i < workers_.size();) {
      const bool ended = workers_[i].process.Ended();
      Listen(workers_[i]);
      PRUNELAB_RETURN_IF_ERROR(HearOthers(workers_[i]));
      if (!ended) {
        ++i;
        continue;
      }
      Worker worker = std::move(workers_[i]);
      workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
      EndOthers(worker);
      PRUNELAB_RETURN_IF_ERROR(Conclude(worker));
    }
    return absl::OkStatus();
  }

  // Rank 0 ends itself when another one has. If it does not, it is frozen.
  absl::Status HearOthers(Worker& worker) {
    constexpr std::chrono::seconds kPatience(5);
    const auto bad_end = [&](const std::string& errors) {
      if (!worker.others_ended) worker.others_ended = Clock::now();
      if (worker.others_errors.empty()) worker.others_errors = errors;
    };
    for (size_t i = 0; i < worker.others.size(); ++i) {
      WorkerProcess& other = worker.others[i];
      other.ReadLines();
      if (!other.Ended() || other.wait_status() == 0) continue;
      bad_end(other.LastErrors().empty() ? "" : absl::StrCat("rank ", i + 1, ": ", other.LastErrors()));
    }
    if (followers_ && Clock::now() - looked_at_followers_ > std::chrono::seconds(1)) {
      looked_at_followers_ = Clock::now();
      PRUNELAB_RETURN_IF_ERROR(followers_->Look());
      if (const std::optional<std::string> end = FollowersEnd(*store_, options().ranks, worker.meeting)) bad_end(*end);
    }
    // On one machine it sees at once that a process has ended.
    const std::chrono::duration<double> silence(options().ranks.launched ? options().ranks.silence_seconds : 0);
    if (!worker.others_ended || Clock::now() - *worker.others_ended <= silence + kPatience) return absl::OkStatus();
    if (!HasLeft(worker)) worker.process.Signal(SIGKILL);
    return absl::OkStatus();
  }

  // Whether rank 0 has ended its training with the others, and does alone what comes after it.
  bool HasLeft(const Worker& worker) const {
    const auto left = store_->Get(LeftName(MeetingName(worker.meeting), 0));
    return left.ok() && left->has_value();
  }

  // The run has ended, or begins again: its other ranks have nothing more to do, and may be frozen.
  static void EndOthers(Worker& worker) {
    for (WorkerProcess& other : worker.others) {
      other.Signal(SIGKILL);
      while (!other.Ended()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }

  void Listen(Worker& worker) {
    for (const std::string& line : worker.process.ReadLines()) {
      const std::optional<WorkerMessage> message = ParseWorkerMessage(line);
      if (!message) continue;
      const std::string name = runs()[worker.index].name();
      if (message->has_progress()) display_.Update(name, message->progress());
      if (message->has_warning()) display_.Say(absl::StrCat(name, ": ", message->warning()));
    }
  }

  // Decides what happens to the run of a worker that has ended.
  absl::Status Conclude(Worker& worker) {
    const PlannedRun& run = runs()[worker.index];
    const int status = worker.process.wait_status();
    const bool done = WIFEXITED(status) && WEXITSTATUS(status) == kWorkerDone;
    PRUNELAB_RETURN_IF_ERROR(FinishFurtherAlone(run.folder));
    absl::StatusOr<RunResult> result = ReadResult(run.folder);
    // The result of the run that was to be trained further, not of this one, which may have failed.
    if (result.ok() && result->run_id != run.run_id) result = ReadResult(FurtherFolder(run.folder));
    // A result is a run's last word: how the process ended after it does not matter. A retry would find no checkpoint.
    if (result.ok() && (done || (result->run_id == run.run_id && IsFinished(*result)))) {
      // It may have ended before that.
      if (!done) {
        PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(run.folder, run.arm->config.training().keep_state()));
      }
      return Finish(worker.index, *std::move(result));
    }
    if (done) return Fail(worker.index, std::string(result.status().message()));
    return ConcludeWithoutResult(worker);
  }

  // However the worker ended, its run resumes from the last checkpoint, or fails.
  absl::Status ConcludeWithoutResult(Worker& worker) {
    const size_t index = worker.index;
    const std::string name = runs()[index].name();
    // A signal to all of the process group may have ended a worker that was still being started, before it was seen
    // here that we are asked to stop too.
    if (stop_deadline_ || Stopping()) {
      display_.End(name, "stopped", /*done=*/false);
      outcome_.stopped = true;
      return absl::OkStatus();
    }
    const int status = worker.process.wait_status();
    const int exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    const std::optional<TrialScore> score = ScoreHere(index);
    if (exit_status == kWorkerStopped && score) return Pause(index, *score, /*ours=*/true);
    if (exit_status == kWorkerStopped && options().ranks.launched && options().ranks.count > 1) {
      // Whoever started the ranks has stopped one of them, and will not have it come back.
      display_.End(name, "stopped by a signal to one of its ranks", /*done=*/false);
      outcome_.stopped = true;
      queue_.Clear();
      return absl::OkStatus();
    }
    if (exit_status == kWorkerStopped) {
      // Another process asked it to stop. If we were asked, too, we notice before it is started again.
      display_.End(name, "stopped by a signal to its process", /*done=*/false);
      queue_.PutFirst(index);
      return absl::OkStatus();
    }
    std::string errors = worker.process.LastErrors();
    if (errors.empty()) errors = worker.others_errors;  // rank 0 was killed, or frozen
    if (exit_status == kWorkerBusy) {                   // it was written between our look and the worker's
      display_.End(name, "is trained by another process", /*done=*/false);
      LeaveToOthers(index, absl::UnavailableError(errors));
      return absl::OkStatus();
    }
    if (exit_status == kWorkerFailed) return Fail(index, errors);
    const std::string message = absl::StrCat("its process ended with ", worker.process.EndText(),
                                             errors.empty() ? "" : "; its last lines: ", errors);
    const bool counts = !worker.gpu || !UsesMps() || shared_crashes_.Counts(*worker.gpu, worker.started, Clock::now());
    if (counts && crashes_[index]++ >= options().retries) return Fail(index, message);
    display_.End(name,
                 absl::StrCat(message, "; tried again",
                              counts ? "" : ", and not counted: a run beside it on its GPU had ended just before"),
                 /*done=*/false);
    queue_.PutFirst(index);
    return absl::OkStatus();
  }

  Sweep sweep_;
  const std::string code_revision_;
  std::optional<SearchRuns> search_;
  ProgressDisplay display_;
  RunQueue queue_;
  std::set<size_t> pending_;      // of a search: runs that were wanted and are not concluded
  std::vector<int64_t> crashes_;  // of each run's workers
  SharedCrashes shared_crashes_;  // of workers on one GPU
  std::vector<Worker> workers_;
  std::shared_ptr<RankStore> store_;         // with several ranks: where they meet
  int64_t meetings_ = 0;                     // that there have been
  std::optional<FollowersAlive> followers_;  // of launched ranks
  Clock::time_point looked_at_followers_;
  std::optional<Clock::time_point> stop_deadline_;
  AblationOutcome outcome_;
};

}  // namespace

absl::StatusOr<AblationOutcome> TrainRuns(Sweep sweep) { return Coordinator(std::move(sweep)).TrainAll(); }

}  // namespace prunelab
