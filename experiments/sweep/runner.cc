#include "experiments/sweep/runner.h"

#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "experiments/config/output_files.h"
#include "experiments/records/table.h"
#include "experiments/reporting/report_records.h"
#include "experiments/runs/further.h"
#include "experiments/runs/run.h"
#include "experiments/runs/run_checkpoint.h"
#include "experiments/sweep/allotment.h"
#include "experiments/sweep/code_revision.h"
#include "experiments/sweep/core_claim.h"
#include "experiments/sweep/progress.h"
#include "experiments/sweep/worker.h"
#include "experiments/sweep/worker_process.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/file_lock.h"
#include "ml/base/files.h"
#include "ml/base/output_guard.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/base/with_prefix.h"
#include "ml/execution/device.h"
#include "ml/training/precision.h"

namespace prunelab {
namespace {

using Clock = std::chrono::steady_clock;

// A stopped worker has this long for its step and its checkpoint.
constexpr std::chrono::seconds kStopTime(10);

// Between looks at a run that another process trains, and for how long one may be a process that is about to die.
constexpr std::chrono::milliseconds kLookPeriod(200);
constexpr std::chrono::seconds kDyingTime(3);

struct Run {
  const Arm* arm = nullptr;
  int64_t seed = 0;
  const Dataset* dataset = nullptr;
  std::string folder, run_id;
  std::string weights_digest;  // of its initial weights
  int64_t macs = 0;            // of one image
  double images = 0;           // to train in all
  int64_t crashes = 0;
  // The run whose shape this one has, by `from_scratch`: its folder and identity, and its place among the runs of this
  // call, -1 where it was done before.
  std::string source_folder, source_run_id;
  int source = -1;
  std::string name() const { return absl::StrCat(arm->name, " seed ", seed); }
};

std::string RunFolder(const RunnerOptions& options, const Arm& arm, int64_t seed) {
  return JoinPath(JoinPath(options.output, arm.name), absl::StrCat(seed));
}

// What a run that trains another one further starts from, if its folder holds such a one. A folder that another config
// made is refused else.
absl::StatusOr<std::optional<FurtherStart>> StartOf(const Run& run) {
  std::function<std::string(const RunConfig&)> run_id_of;
  if (run.dataset != nullptr) {
    run_id_of = [&](const RunConfig& config) {
      return FullRunId(config, run.seed, run.dataset->fingerprint, run.weights_digest, run.source_run_id);
    };
  }
  return FindStart(HoldingFolder(run.folder), run.arm->name, run.arm->config, run_id_of);
}

// The result of a run that its folder holds, if any. A folder that another config made is refused, but where this one
// trains that one's run further.
absl::StatusOr<std::optional<RunResult>> FinishedResult(const Run& run) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::optional<FurtherStart> start, StartOf(run));
  if (start) return std::optional<RunResult>();
  const std::string folder = HoldingFolder(run.folder), path = JoinPath(folder, "result.json");
  if (!PathExists(path)) return std::optional<RunResult>();
  PRUNELAB_ASSIGN_OR_RETURN(RunResult result, ReadResult(folder));
  if (!run.run_id.empty() && result.run_id != run.run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": its run was made with other data or initial weights (their fingerprint is not what it is "
                     "now), or by a version of the program that named runs otherwise; use another --output"));
  }
  if (!IsFinished(result)) return std::optional<RunResult>();  // a failed run is tried again
  AddTiming(folder, result);
  return std::optional<RunResult>(std::move(result));
}

// Puts a longer run that has its result in its place, unless its own process is still at that.
absl::Status FinishFurtherAlone(const std::string& folder) {
  if (!IsFolder(FurtherFolder(folder))) return absl::OkStatus();
  const absl::StatusOr<FileLock> lock = FileLock::Take(JoinPath(folder, kRunLock), FileLock::Kind::kExclusive);
  return lock.ok() ? FinishFurther(folder) : absl::OkStatus();
}

// Which runs train others further, a line for each way in which they do; "" where none does.
std::string FurtherLines(const std::map<std::string, std::vector<std::string>>& runs_by_text) {
  constexpr size_t kNamed = 3;
  std::string lines;
  for (const auto& [text, runs] : runs_by_text) {
    const size_t named = std::min(kNamed, runs.size());
    absl::StrAppend(&lines, text, ": ",
                    absl::StrJoin(runs.begin(), runs.begin() + static_cast<std::ptrdiff_t>(named), ", "));
    if (runs.size() > named) absl::StrAppend(&lines, " and ", runs.size() - named, " more");
    absl::StrAppend(&lines, "\n");
  }
  return lines;
}

// An error of a file that the arm's `field` names: where that is set, and in which arm.
absl::Status InArm(const Arm& arm, const std::string& field, const absl::Status& status) {
  const auto place = arm.places.find(field);
  const absl::Status in_field = InField(field, status);
  return absl::Status(status.code(), absl::StrCat(place == arm.places.end() ? "" : absl::StrCat(place->second, ": "),
                                                  "arm \"", arm.name, "\": ", in_field.message()));
}

absl::StatusOr<Dataset> OpenArmDataset(const Arm& arm) {
  absl::StatusOr<Dataset> dataset = OpenDataset(arm.config.dataset());
  if (!dataset.ok()) return InArm(arm, "dataset", dataset.status());
  return dataset;
}

// Each data set and each file of weights that arms use, read once.
class Inputs {
 public:
  absl::StatusOr<const Dataset*> DatasetOf(const Arm& arm) {
    std::unique_ptr<Dataset>& dataset = datasets_[arm.config.dataset().SerializeAsString()];
    if (dataset == nullptr) {
      PRUNELAB_ASSIGN_OR_RETURN(Dataset opened, OpenArmDataset(arm));
      for (const std::string& note : opened.notes) std::cerr << note << "\n";
      dataset = std::make_unique<Dataset>(std::move(opened));
    }
    return dataset.get();
  }

  absl::StatusOr<const InitialWeights*> WeightsOf(const Arm& arm) {
    const std::string& path = arm.config.initial_weights();
    const auto known = weights_.find(path);
    if (known != weights_.end()) return &known->second;
    absl::StatusOr<InitialWeights> weights = ReadInitialWeights(arm.config);
    if (!weights.ok()) return InArm(arm, kWeightsField, weights.status());
    return &weights_.emplace(path, *std::move(weights)).first->second;
  }

  // Whether the arm's initial weights, if it has any, are those of the network. What is passed over of them is said.
  absl::Status CheckWeightsFit(const Arm& arm, const NetworkInfo& network) {
    PRUNELAB_ASSIGN_OR_RETURN(const InitialWeights* const file, WeightsOf(arm));
    if (!file->tensors) return absl::OkStatus();
    const absl::StatusOr<Weights> weights = TakeInitialWeights(arm.config, *file->tensors, network);
    if (!weights.ok()) return InArm(arm, kWeightsField, weights.status());
    for (const std::string& note : weights->notes) {
      if (said_.insert(note).second) std::cerr << note << "\n";
    }
    return absl::OkStatus();
  }

 private:
  static constexpr char kWeightsField[] = "initial_weights";
  std::map<std::string, std::unique_ptr<Dataset>> datasets_;
  std::map<std::string, InitialWeights> weights_;
  std::set<std::string> said_;
};

// Refuses initial weights that a run without a result would write over.
absl::Status CheckWeightsStay(const std::vector<Run>& runs, const std::vector<std::optional<RunResult>>& results) {
  std::set<std::string> weights;
  for (const Run& run : runs) {
    if (run.arm->config.has_initial_weights()) weights.insert(run.arm->config.initial_weights());
  }
  for (const std::string& path : weights) {
    for (size_t i = 0; i < runs.size(); ++i) {
      const Run& run = runs[i];
      for (const char* name : kRunFiles) {
        if (results[i] || !SameFile(UserPath(path), JoinPath(run.folder, name))) continue;
        return absl::InvalidArgumentError(absl::StrCat("initial_weights: ", path, " is the file that ", run.name(),
                                                       " writes; copy it elsewhere, or use another --output"));
      }
    }
  }
  return absl::OkStatus();
}

// For runs with `from_scratch`: the run whose shape they take, here or done before, by the data and weights that there
// are now.
absl::Status FindSources(const LoadedAblation& loaded, const RunnerOptions& options, Inputs& inputs,
                         std::vector<Run>& runs) {
  for (Run& run : runs) {
    if (!run.arm->config.has_from_scratch()) continue;
    const std::string& name = run.arm->config.from_scratch().arm();
    for (size_t i = 0; i < runs.size(); ++i) {
      if (runs[i].arm->name == name && runs[i].seed == run.seed) run.source = static_cast<int>(i);
    }
    if (run.source >= 0) {
      run.source_folder = runs[run.source].folder;
      run.source_run_id = runs[run.source].run_id;
    } else {
      Run source;
      source.seed = run.seed;
      const auto arm =
          std::find_if(loaded.arms.begin(), loaded.arms.end(), [&](const Arm& other) { return other.name == name; });
      PRUNELAB_CHECK(arm != loaded.arms.end()) << name;
      source.arm = &*arm;
      source.folder = RunFolder(options, *arm, run.seed);
      PRUNELAB_ASSIGN_OR_RETURN(const Dataset* dataset, inputs.DatasetOf(*arm));
      PRUNELAB_ASSIGN_OR_RETURN(const InitialWeights* weights, inputs.WeightsOf(*arm));
      source.dataset = dataset;
      source.weights_digest = weights->digest;
      source.run_id = FullRunId(arm->config, run.seed, dataset->fingerprint, weights->digest);
      const absl::StatusOr<std::optional<RunResult>> found = FinishedResult(source);
      if (!found.ok()) {
        return WithPrefix(absl::StrCat("arm \"", run.arm->name, "\" takes its shape from ", source.name()),
                          found.status());
      }
      const std::optional<RunResult>& result = *found;
      if (!result || result->status != "done") {
        return absl::FailedPreconditionError(absl::StrCat("arm \"", run.arm->name, "\" takes its shape from ",
                                                          source.name(), ", of which there is no result in ",
                                                          options.output, "; run that arm too, or before"));
      }
      run.source_folder = source.folder;
      run.source_run_id = result->run_id;
    }
    run.run_id =
        FullRunId(run.arm->config, run.seed, run.dataset->fingerprint, /*weights_digest=*/"", run.source_run_id);
  }
  return absl::OkStatus();
}

Allotment AllotmentOf(const LoadedAblation& loaded, const RunnerOptions& options, const Machine& machine,
                      const std::string& device) {
  const int64_t runs = static_cast<int64_t>(loaded.arms.size()) * loaded.ablation.seeds().count();
  return Allot(machine, options.jobs, options.threads_per_run, device == "cuda", runs);
}

// The results that the output folder holds beyond the runs asked for: of other shards, seeds and arms of the ablation.
std::vector<RunResult> OtherResults(const LoadedAblation& loaded, const RunnerOptions& options,
                                    const std::set<std::string>& own_folders) {
  std::vector<RunResult> results;
  for (const Arm& arm : loaded.arms) {
    std::set<int64_t> seeds;
    for (int64_t i = 0; i < loaded.ablation.seeds().count(); ++i) seeds.insert(loaded.ablation.seeds().first() + i);
    for (const std::string& name :
         ListFolder(JoinPath(options.output, arm.name)).value_or(std::vector<std::string>())) {
      int64_t seed = 0;
      if (absl::SimpleAtoi(name, &seed) && absl::StrCat(seed) == name) seeds.insert(seed);
    }
    for (const int64_t seed : seeds) {
      const std::string folder = RunFolder(options, arm, seed);
      if (own_folders.count(folder)) continue;
      results.push_back(ReadResult(folder).value_or(MissingResult(arm.name, seed)));
      AddTiming(folder, results.back());
    }
  }
  return results;
}

// Trains the runs that are not done yet.
class Coordinator {
 public:
  Coordinator(const LoadedAblation& loaded, const RunnerOptions& options, const std::vector<FileLock>& locks,
              const std::string& device, const Allotment& allotment, std::vector<Run> runs,
              std::vector<std::optional<RunResult>> results)
      : loaded_(loaded),
        options_(options),
        locks_(locks),
        device_(device),
        runs_(std::move(runs)),
        results_(std::move(results)),
        code_revision_(CodeRevision()),
        allotment_(allotment),
        display_(options.terminal, static_cast<int64_t>(runs_.size()), Done(), ImagesToTrain()) {
    // Seed by seed, so that what is there at any moment is nearly balanced over the arms.
    std::vector<size_t> order(runs_.size());
    for (size_t i = 0; i < runs_.size(); ++i) order[i] = i;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return runs_[a].seed < runs_[b].seed; });
    for (const size_t i : order) {
      if (!results_[i]) waiting_.push_back(i);
    }
  }

  absl::StatusOr<AblationOutcome> RunAll() {
    PRUNELAB_RETURN_IF_ERROR(Collect());
    PRUNELAB_RETURN_IF_ERROR(options_.worker_command.empty() ? RunHere() : RunWorkers());
    outcome_.results = Results();
    return outcome_;
  }

 private:
  int64_t Done() const {
    return std::count_if(results_.begin(), results_.end(), [](const auto& result) { return result.has_value(); });
  }
  double ImagesToTrain() const {
    double images = 0;
    for (size_t i = 0; i < runs_.size(); ++i) images += results_[i] ? 0 : runs_[i].images;
    return images;
  }
  bool Stopping() const { return options_.stop && options_.stop(); }

  // The output folder may vanish. One made in its place would be locked by nobody, and where a file system was
  // unmounted its results would lie hidden below the mount: nothing is written there.
  absl::Status CheckFolder() const {
    for (const FileLock& lock : locks_) {
      const absl::Status status = lock.CheckInPlace();
      if (!status.ok()) {
        return absl::NotFoundError(absl::StrCat(options_.output, ": has vanished while its runs were trained; ",
                                                status.message(), "; bring it back, then run the same command again"));
      }
    }
    return absl::OkStatus();
  }

  RunRequest Request(const Run& run) const {
    RunRequest request;
    request.folder = run.folder;
    request.arm = run.arm->name;
    request.seed = run.seed;
    request.config = run.arm->config;
    request.run_id = run.run_id;
    request.device = device_;
    request.threads = ThreadsForWork(run.macs * run.arm->config.training().batch_size(), allotment_.threads);
    request.code_revision = code_revision_;
    request.source_folder = run.source_folder;
    request.source_run_id = run.source_run_id;
    return request;
  }

  std::vector<RunResult> Results() const {
    std::vector<RunResult> results;
    for (size_t i = 0; i < runs_.size(); ++i) {
      results.push_back(results_[i].value_or(MissingResult(runs_[i].arm->name, runs_[i].seed)));
    }
    return results;
  }

  // results.csv: the runs of this call and what else the folder holds, arm by arm.
  absl::Status Collect() {
    std::set<std::string> own;
    for (const Run& run : runs_) own.insert(run.folder);
    std::vector<RunResult> all = Results();
    for (RunResult& other : OtherResults(loaded_, options_, own)) all.push_back(std::move(other));
    std::map<std::string, size_t> place;
    for (const Arm& arm : loaded_.arms) place.emplace(arm.name, place.size());
    std::stable_sort(all.begin(), all.end(), [&](const RunResult& a, const RunResult& b) {
      return std::make_pair(place[a.arm], a.seed) < std::make_pair(place[b.arm], b.seed);
    });
    return WriteFileAtomically(JoinPath(options_.output, kResultsFile), ResultsCsv(all));
  }

  // `ours`: it was trained by this call.
  absl::Status Finish(size_t index, RunResult result, bool ours = true) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const Run& run = runs_[index];
    outcome_.trained += ours;
    outcome_.failed += result.status == "failed";
    if (result.status != "failed") AddTiming(run.folder, result);
    std::string text = result.status == "done" && result.test_top1
                           ? absl::StrFormat("test %.2f %%", 100 * *result.test_top1)
                           : absl::StrCat(result.status, result.message.empty() ? "" : ": ", result.message);
    if (!ours) text += ", trained by another process";
    results_[index] = std::move(result);
    elsewhere_.erase(index);
    display_.End(run.name(), text, /*done=*/true);
    const absl::Status collected = Collect();
    if (!collected.ok()) PRUNELAB_RETURN_IF_ERROR(CheckFolder());  // says more than that a file cannot be made
    return collected;
  }

  // A run that ended without a result is one too, unless somebody else has taken it up or even ended it meanwhile.
  absl::Status Fail(size_t index, const std::string& message) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const Run& run = runs_[index];
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
    // Where even this cannot be written, the message at the end is all there is.
    const absl::StatusOr<RunResult> kept = lock.ok() ? KeepResult(run.folder, result) : lock.status();
    // Nor does a failure replace the result of a run that was to be trained further.
    if (!kept.ok() && !absl::IsAlreadyExists(kept.status())) display_.Say(std::string(kept.status().message()));
    return Finish(index, kept.ok() ? *kept : std::move(result));
  }

  static absl::StatusOr<FileLock> TakeRunLock(const Run& run) {
    return FileLock::Take(JoinPath(run.folder, kRunLock), FileLock::Kind::kExclusive);
  }

  // Another process trains the run, e.g. for another shard: it is looked at again in a while.
  void LeaveToOthers(size_t index, const absl::Status& held) {
    const auto now = Clock::now();
    Elsewhere& elsewhere = elsewhere_.try_emplace(index, Elsewhere{now, now}).first->second;
    elsewhere.next_look = now + kLookPeriod;
    elsewhere.is_waiting = false;
    // Not at once: a process that is about to die holds its lock to the end of its last write.
    if (elsewhere.said || now - elsewhere.since < kDyingTime) return;
    elsewhere.said = true;
    display_.Say(absl::StrCat(runs_[index].name(), ": another process trains it, its result is waited for (",
                              held.message(), ")"));
  }

  // Lets runs that others had be tried again when it is time to.
  void LookElsewhere() {
    for (auto& [index, elsewhere] : elsewhere_) {
      if (elsewhere.is_waiting || Clock::now() < elsewhere.next_look) continue;
      elsewhere.is_waiting = true;
      waiting_.push_front(index);
    }
  }

  // Whether a run that waits is ours to train: another process may be at it, or have ended it.
  absl::StatusOr<bool> IsOurs(size_t index) {
    const Run& run = runs_[index];
    const absl::StatusOr<FileLock> lock = TakeRunLock(run);
    if (absl::IsFailedPrecondition(lock.status())) {
      LeaveToOthers(index, lock.status());
      return false;
    }
    elsewhere_.erase(index);
    const absl::StatusOr<std::optional<RunResult>> there = FinishedResult(run);
    if (!there.ok()) {
      PRUNELAB_RETURN_IF_ERROR(Fail(index, std::string(there.status().message())));
      return false;
    }
    if (!*there) return true;
    display_.Start(run.name(), run.images);
    PRUNELAB_RETURN_IF_ERROR(Finish(index, **there, /*ours=*/false));
    return false;
  }

  // Makes the folder of a run that is to be started, or fails the run. A worker, which takes seconds to start, does not
  // make it: it might then stand in the place of a vanished one.
  absl::StatusOr<bool> MakeFolder(size_t index) {
    PRUNELAB_RETURN_IF_ERROR(CheckFolder());
    const absl::Status made = CreateFolders(runs_[index].folder);
    if (made.ok()) return true;
    PRUNELAB_RETURN_IF_ERROR(Fail(index, std::string(made.message())));
    return false;
  }

  // Takes the first waiting run that need not wait for another one; none where all do. One whose source has ended
  // without a network fails.
  absl::StatusOr<std::optional<size_t>> TakeNext() {
    for (auto next = waiting_.begin(); next != waiting_.end();) {
      const size_t index = *next;
      const int source = runs_[index].source;
      if (source >= 0 && !results_[source]) {
        ++next;
        continue;
      }
      next = waiting_.erase(next);
      if (source < 0 || results_[source]->status == "done") return std::optional<size_t>(index);
      const size_t place = static_cast<size_t>(next - waiting_.begin());
      PRUNELAB_RETURN_IF_ERROR(Fail(
          index, absl::StrCat("the run whose shape it takes, ", runs_[source].name(), ", ", results_[source]->status)));
      next = waiting_.begin() + static_cast<std::ptrdiff_t>(place);
    }
    return std::optional<size_t>();
  }

  absl::Status RunHere() {
    while (!waiting_.empty() || !elsewhere_.empty()) {
      if (Stopping()) {
        outcome_.stopped = true;
        return absl::OkStatus();
      }
      LookElsewhere();
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<size_t> next, TakeNext());
      if (!next) {
        std::this_thread::sleep_for(kLookPeriod);  // all that is left is with others, or waits for that
        continue;
      }
      const size_t index = *next;
      const Run& run = runs_[index];
      PRUNELAB_ASSIGN_OR_RETURN(const bool made, MakeFolder(index));
      if (!made) continue;
      PRUNELAB_ASSIGN_OR_RETURN(const bool ours, IsOurs(index));
      if (!ours) continue;
      display_.Start(run.name(), run.images);
      RunHooks hooks;
      hooks.stop = options_.stop;
      hooks.on_progress = [&](const RunProgress& progress) {
        display_.Update(run.name(), progress);
        display_.Refresh();
      };
      hooks.on_warning = [&](const std::string& warning) { display_.Say(warning); };
      absl::StatusOr<RunResult> result = TrainRun(Request(run), *run.dataset, hooks);
      if (absl::IsCancelled(result.status())) {
        display_.End(run.name(), "stopped", /*done=*/false);
        outcome_.stopped = true;
        return absl::OkStatus();
      }
      if (absl::IsUnavailable(result.status())) {
        display_.End(run.name(), "is trained by another process", /*done=*/false);
        LeaveToOthers(index, result.status());
        continue;
      }
      PRUNELAB_RETURN_IF_ERROR(result.ok() ? Finish(index, *std::move(result))
                                           : Fail(index, std::string(result.status().message())));
    }
    return absl::OkStatus();
  }

  struct Worker {
    size_t index;  // of its run
    CoreClaim claim;
    WorkerProcess process;
  };

  absl::Status StartWorkers() {
    while (!waiting_.empty() && static_cast<int64_t>(workers_.size()) < allotment_.jobs) {
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<size_t> next, TakeNext());
      if (!next) return absl::OkStatus();
      const size_t index = *next;
      const Run& run = runs_[index];
      PRUNELAB_ASSIGN_OR_RETURN(const bool made, MakeFolder(index));
      if (!made) continue;
      PRUNELAB_ASSIGN_OR_RETURN(const bool ours, IsOurs(index));
      if (!ours) continue;
      // Each has cores of its own where there are enough; one alone may go where the system likes, and so may those for
      // which other coordinators on this machine have left too few.
      const std::vector<int> allowed = CoreClaim::Allowed();
      CoreClaim claim;
      if (allotment_.jobs > 1 && allotment_.jobs * allotment_.threads <= static_cast<int64_t>(allowed.size())) {
        claim = CoreClaim::Take(allowed, allotment_.threads);
      }
      const RunRequest request = Request(run);
      PRUNELAB_ASSIGN_OR_RETURN(
          WorkerProcess process,
          WorkerProcess::Start(options_.worker_command, {absl::StrCat("OMP_NUM_THREADS=", request.threads)},
                               claim.cores(), SerializeRunRequest(request)));
      display_.Start(run.name(), run.images);
      workers_.push_back({index, std::move(claim), std::move(process)});
    }
    return absl::OkStatus();
  }

  void Listen(Worker& worker) {
    for (const std::string& line : worker.process.ReadLines()) {
      const std::optional<WorkerMessage> message = ParseWorkerMessage(line);
      if (!message) continue;
      if (message->progress) display_.Update(runs_[worker.index].name(), *message->progress);
      if (!message->warning.empty()) display_.Say(absl::StrCat(runs_[worker.index].name(), ": ", message->warning));
    }
  }

  // What becomes of the run of a worker that has ended.
  absl::Status Conclude(Worker& worker) {
    Run& run = runs_[worker.index];
    const int status = worker.process.wait_status();
    const bool done = WIFEXITED(status) && WEXITSTATUS(status) == kWorkerDone;
    PRUNELAB_RETURN_IF_ERROR(FinishFurtherAlone(run.folder));
    absl::StatusOr<RunResult> result = ReadResult(run.folder);
    // That of the run that was to be trained further, and not this one's, which may have failed.
    if (result.ok() && result->run_id != run.run_id) result = ReadResult(FurtherFolder(run.folder));
    // A result is a run's last word: how the process ended behind it does not matter. A retry would find no checkpoint.
    if (result.ok() && (done || (result->run_id == run.run_id && IsFinished(*result)))) {
      // It may not have come to that.
      if (!done) {
        PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(run.folder, run.arm->config.training().keep_state()));
      }
      return Finish(worker.index, *std::move(result));
    }
    if (done) return Fail(worker.index, std::string(result.status().message()));
    // Whatever it ended by, it goes on from its last checkpoint. A signal to all of the process group may have ended
    // one that was still being started, before it was seen here that we are asked to stop too.
    if (stop_deadline_ || Stopping()) {
      display_.End(run.name(), "stopped", /*done=*/false);
      outcome_.stopped = true;
      return absl::OkStatus();
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == kWorkerStopped) {
      // Asked by somebody else. If we are too, that is seen before it is started again.
      display_.End(run.name(), "stopped by a signal to its process", /*done=*/false);
      waiting_.push_front(worker.index);
      return absl::OkStatus();
    }
    const std::string errors = worker.process.LastErrors();
    if (WIFEXITED(status) && WEXITSTATUS(status) == kWorkerBusy) {  // it came between our look and the worker's
      display_.End(run.name(), "is trained by another process", /*done=*/false);
      LeaveToOthers(worker.index, absl::UnavailableError(errors));
      return absl::OkStatus();
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == kWorkerFailed) return Fail(worker.index, errors);
    const std::string message = absl::StrCat("its process ended with ", worker.process.EndText(),
                                             errors.empty() ? "" : "; its last lines: ", errors);
    if (run.crashes++ < options_.retries) {
      display_.End(run.name(), absl::StrCat(message, "; tried again"), /*done=*/false);
      waiting_.push_front(worker.index);
      return absl::OkStatus();
    }
    return Fail(worker.index, message);
  }

  absl::Status RunWorkers() {
    while (!workers_.empty() || !waiting_.empty() || !elsewhere_.empty()) {
      if (!stop_deadline_ && Stopping()) {
        display_.Say("Stopping: the runs in progress write checkpoints.");
        stop_deadline_ = Clock::now() + kStopTime;
        outcome_.stopped = true;
        waiting_.clear();
        elsewhere_.clear();
      }
      // Again and again: one that is between fork and exec takes a signal by this process's handler, to no effect.
      if (stop_deadline_) {
        const int signal = Clock::now() > *stop_deadline_ ? SIGKILL : SIGTERM;
        for (const Worker& worker : workers_) worker.process.Signal(signal);
      }
      if (!stop_deadline_) LookElsewhere();
      if (!stop_deadline_) PRUNELAB_RETURN_IF_ERROR(StartWorkers());
      std::vector<pollfd> files;
      for (const Worker& worker : workers_) {
        for (const int fd : {worker.process.output(), worker.process.errors()}) {
          if (fd >= 0) files.push_back({fd, POLLIN, 0});
        }
      }
      poll(files.data(), files.size(), 100);  // an interrupting signal is looked at above
      for (size_t i = 0; i < workers_.size();) {
        const bool ended = workers_[i].process.Ended();
        Listen(workers_[i]);
        if (!ended) {
          ++i;
          continue;
        }
        Worker worker = std::move(workers_[i]);
        workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(i));
        PRUNELAB_RETURN_IF_ERROR(Conclude(worker));
      }
      display_.Refresh();
    }
    return absl::OkStatus();
  }

  const LoadedAblation& loaded_;
  const RunnerOptions& options_;
  const std::vector<FileLock>& locks_;
  const std::string device_;
  std::vector<Run> runs_;
  std::vector<std::optional<RunResult>> results_;
  const std::string code_revision_;
  const Allotment allotment_;
  ProgressDisplay display_;
  std::deque<size_t> waiting_;
  // Runs that another process was seen to train.
  struct Elsewhere {
    Clock::time_point since, next_look;
    bool said = false;
    bool is_waiting = false;  // to be tried again: it is in waiting_, too
  };
  std::map<size_t, Elsewhere> elsewhere_;
  std::vector<Worker> workers_;
  std::optional<Clock::time_point> stop_deadline_;
  AblationOutcome outcome_;
};

// How many images an epoch of the arm's runs trains on. Refuses what the loader could not know before the data were
// read.
absl::StatusOr<int64_t> CheckArmOnData(const Arm& arm, const NetworkInfo& network, const Dataset& dataset) {
  const absl::StatusOr<int64_t> images = CheckTrainingOnData(arm.config.training(), network, dataset);
  if (images.ok()) return images;
  return absl::InvalidArgumentError(
      absl::StrCat("arm \"", arm.name, "\": ", InField("training", images.status()).message()));
}

// Refuses an arm whose precision the device would emulate.
absl::Status CheckArmPrecision(const Arm& arm, at::Device device) {
  const absl::Status status = InField("training", CheckPrecision(arm.config.training(), device));
  return status.ok() ? status : WithPrefix(absl::StrCat("arm \"", arm.name, "\""), status);
}

// The right to work in the output folder: all of it, or a shard's part beside other shards.
absl::StatusOr<std::vector<FileLock>> LockFolder(const RunnerOptions& options) {
  const bool whole = options.shard.count == 1;
  std::vector<FileLock> locks;
  PRUNELAB_ASSIGN_OR_RETURN(
      FileLock folder,
      FileLock::Take(JoinPath(options.output, ".lock"), whole ? FileLock::Kind::kExclusive : FileLock::Kind::kShared));
  locks.push_back(std::move(folder));
  if (whole) return locks;
  PRUNELAB_ASSIGN_OR_RETURN(
      FileLock part,
      FileLock::Take(JoinPath(options.output, absl::StrCat(".lock.", options.shard.index, "of", options.shard.count)),
                     FileLock::Kind::kExclusive));
  locks.push_back(std::move(part));
  return locks;
}

}  // namespace

absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options) {
  PRUNELAB_RETURN_IF_ERROR(CheckShard(options.shard, options.seeds));
  PRUNELAB_ASSIGN_OR_RETURN(const at::Device chosen, ChooseDevice(options.device));
  const std::string device = chosen.is_cuda() ? "cuda" : "cpu";
  Inputs inputs;
  std::vector<Run> runs;
  for (const Arm& arm : options.arms) {
    PRUNELAB_ASSIGN_OR_RETURN(const Dataset* const opened, inputs.DatasetOf(arm));
    const Dataset& dataset = *opened;
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, dataset.info));
    PRUNELAB_ASSIGN_OR_RETURN(const int64_t train_images, CheckArmOnData(arm, network, dataset));
    PRUNELAB_RETURN_IF_ERROR(inputs.CheckWeightsFit(arm, network));
    PRUNELAB_ASSIGN_OR_RETURN(const InitialWeights* const weights, inputs.WeightsOf(arm));
    for (const int64_t seed : SeedsOf(options.shard, options.seeds)) {
      Run run;
      run.arm = &arm;
      run.seed = seed;
      run.dataset = &dataset;
      run.folder = RunFolder(options, arm, run.seed);
      run.weights_digest = weights->digest;
      run.run_id = FullRunId(arm.config, run.seed, dataset.fingerprint, run.weights_digest);
      run.macs = network.MacCount();
      run.images = static_cast<double>(train_images * arm.config.training().epochs());
      runs.push_back(run);
    }
  }
  PRUNELAB_RETURN_IF_ERROR(FindSources(loaded, options, inputs, runs));
  PRUNELAB_RETURN_IF_ERROR(CheckFolderCanBeWritten(options.output));
  std::vector<std::optional<RunResult>> results(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    PRUNELAB_ASSIGN_OR_RETURN(results[i], FinishedResult(runs[i]));
    if (results[i]) continue;  // also where another machine trained it
    PRUNELAB_RETURN_IF_ERROR(CheckArmPrecision(*runs[i].arm, chosen));
  }
  PRUNELAB_RETURN_IF_ERROR(CheckWeightsStay(runs, results));
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(options.output));
  PRUNELAB_ASSIGN_OR_RETURN(const std::vector<FileLock> locks, LockFolder(options));
  if (options.shard.count == 1) PRUNELAB_RETURN_IF_ERROR(RemoveTemporaries(options.output));
  // Again, now that nobody else is at work: a run may have been finished meanwhile. One whose process died right behind
  // its result has left its checkpoints.
  std::map<std::string, std::vector<std::string>> further;
  for (size_t i = 0; i < runs.size(); ++i) {
    Run& run = runs[i];
    const Training& training = run.arm->config.training();
    PRUNELAB_RETURN_IF_ERROR(FinishFurtherAlone(run.folder));
    PRUNELAB_ASSIGN_OR_RETURN(results[i], FinishedResult(run));
    if (results[i]) {
      PRUNELAB_RETURN_IF_ERROR(SettleRunCheckpoints(run.folder, training.keep_state()));
      continue;
    }
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<FurtherStart> start, StartOf(run));
    if (!start) continue;
    further[FurtherText(*start, run.arm->config)].push_back(run.name());
    run.images *= 1 - static_cast<double>(start->done) / static_cast<double>(training.epochs());
  }
  std::cerr << FurtherLines(further);
  const std::string ablation_text = PrettyText(loaded.ablation);
  PRUNELAB_RETURN_IF_ERROR(KeepPlan(options.output, ablation_text));
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(options.output, kAblationFile), ablation_text));
  const Machine machine = ThisMachine();
  const Allotment allotment = AllotmentOf(loaded, options, machine, device);
  const bool all_done =
      std::all_of(results.begin(), results.end(), [](const auto& result) { return result.has_value(); });
  if (!all_done) std::cerr << AllotmentText(machine, allotment) << "\n";
  Coordinator coordinator(loaded, options, locks, device, allotment, std::move(runs), std::move(results));
  return coordinator.RunAll();
}

absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options) {
  PRUNELAB_RETURN_IF_ERROR(CheckShard(options.shard, options.seeds));
  const std::vector<int64_t> seeds = SeedsOf(options.shard, options.seeds);
  const int64_t seed_count = static_cast<int64_t>(seeds.size());
  std::vector<std::vector<std::string>> rows = {{"arm", "parameters", "convolutions", "filters", "MACs", "done"}};
  std::string missing, notes;
  const auto report = [&](const absl::Status& status) {
    if (!status.ok()) absl::StrAppend(&missing, "Missing: ", status.message(), "\n");
  };
  const absl::StatusOr<at::Device> device = ChooseDevice(options.device);
  int64_t done_runs = 0;
  std::map<std::string, std::vector<std::string>> further;
  Inputs inputs;
  std::set<std::string> looked_at;
  for (const Arm& arm : options.arms) {
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<DatasetInfo> info, DescribeRunDataset(arm.config));
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, info));
    // Without the data the network's sizes are not known, which its weights must have.
    const absl::Status found = info ? inputs.CheckWeightsFit(arm, network) : inputs.WeightsOf(arm).status();
    if (!found.ok() && !absl::IsNotFound(found)) return found;
    if (looked_at.insert(arm.config.initial_weights()).second) report(found);
    int64_t done = 0;
    for (const int64_t seed : seeds) {
      Run run;
      run.seed = seed;
      run.arm = &arm;
      run.folder = RunFolder(options, arm, run.seed);
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<RunResult> result, FinishedResult(run));
      done += result.has_value();
      if (result) continue;
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<FurtherStart> start, StartOf(run));
      if (start) further[FurtherText(*start, arm.config)].push_back(run.name());
    }
    done_runs += done;
    if (device.ok() && done < seed_count) report(CheckArmPrecision(arm, *device));
    rows.push_back({arm.name, absl::StrCat(network.ParameterCount()), absl::StrCat(network.convs().size()),
                    absl::StrCat(network.FilterCount()), absl::StrCat(network.MacCount()),
                    absl::StrCat(done, " of ", seed_count)});
  }
  std::map<std::string, std::optional<Dataset>> datasets;  // no value: it cannot be opened
  for (const Arm& arm : options.arms) {
    const auto [entry, is_new] = datasets.try_emplace(arm.config.dataset().SerializeAsString());
    if (is_new) {
      absl::StatusOr<Dataset> dataset = OpenArmDataset(arm);
      report(dataset.status());
      if (dataset.ok()) {
        for (const std::string& note : dataset->notes) absl::StrAppend(&notes, note, "\n");
        entry->second = *std::move(dataset);
      }
    }
    if (const std::optional<Dataset>& dataset = entry->second) {
      PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, dataset->info));
      PRUNELAB_RETURN_IF_ERROR(CheckArmOnData(arm, network, *dataset).status());
    }
  }
  const int64_t runs = static_cast<int64_t>(options.arms.size()) * seed_count;
  const bool cuda = device.ok() && device->is_cuda();
  const Machine machine = ThisMachine();
  return absl::StrCat("Ablation \"", loaded.ablation.name(), "\": ", options.arms.size(), " arms, seeds ",
                      options.seeds.first(), " to ", options.seeds.first() + options.seeds.count() - 1, ", ",
                      options.shard.count > 1 ? "in this share " : "", runs, " runs, ", done_runs,
                      " of them done; output ", options.output, "\n\n", Aligned(rows), "\n",
                      AllotmentText(machine, AllotmentOf(loaded, options, machine, cuda ? "cuda" : "cpu")), "\n",
                      FurtherLines(further), notes, missing);
}

}  // namespace prunelab
