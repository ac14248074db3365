// The ablation program. Everything that a config names must be linked in (defs.bzl: ablation_binary).
#include <gflags/gflags.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <iostream>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "experiments/config/load.h"
#include "experiments/config/output_files.h"
#include "experiments/config/selection.h"
#include "experiments/records/table.h"
#include "experiments/reporting/report.h"
#include "experiments/search/search_outcome.h"
#include "experiments/sweep/dry_run.h"
#include "experiments/sweep/rank_follower.h"
#include "experiments/sweep/rank_options.h"
#include "experiments/sweep/runner.h"
#include "experiments/sweep/shard.h"
#include "experiments/sweep/worker.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/output_guard.h"
#include "ml/base/plugin.h"
#include "ml/base/status_macros.h"
#include "ml/base/stop_signals.h"
#include "ml/base/textproto.h"
#include "ml/base/training_process.h"
#include "ml/distributed/rank_store.h"
#include "ml/execution/device.h"

DEFINE_string(config, "", "The ablation: a text proto (docs/config.md), e.g. experiments/configs/digits.textproto.");
DEFINE_string(output, "", "Folder for the results; default runs/<name of the ablation>.");
DEFINE_string(seeds, "", "Seeds to run, e.g. 1-10, instead of the config's.");
DEFINE_string(arms, "", "Only the arms that this glob matches; a comma means or.");
DEFINE_string(device, "auto", "auto, cpu or cuda; auto takes a GPU where there is one.");
DEFINE_int32(jobs, 0, "Runs at once, each in a process of its own; 0: as many as the machine has cores, or GPUs.");
DEFINE_int32(threads_per_run, 0,
             "Threads of a run; 0: the cores that --jobs leave to it, one where the network is tiny.");
DEFINE_string(
    ranks, "1",
    "Processes that train each run together, each with its share of every batch: a number, on this machine; or "
    "env, if torchrun or srun has started this command once for each, on one machine or on several.");
DEFINE_double(
    rank_timeout, 30,
    "Seconds after which a process of --ranks that gives no sign of life is lost; then the run is tried again "
    "(--retries).");
DEFINE_int32(retries, 1, "How often a run whose process crashes is tried again, from its last checkpoint.");
DEFINE_string(
    shard, "",
    "Part of the sweep as index/count, e.g. 0/4: every fourth seed, all arms; slurm: the share of this task of a "
    "Slurm job array. Without it all is trained, in a Slurm array too.");
DEFINE_bool(worker, false, "How the program starts itself for a run; not for people.");
DEFINE_string(override, "", "More text of the config, merged over it, e.g. 'base { training { epochs: 2 } }'.");
DEFINE_bool(dry_run, false, "Say what would be run, with sizes, and what the seeds can show, and stop.");
DEFINE_double(expected_sd, 0,
              "For --dry_run: a guess of the standard deviation of a paired difference, in the metric's unit (0.005 is "
              "half a point of accuracy), where no runs tell it.");
DEFINE_bool(list, false, "Say what is linked, with a line on each, and stop.");

namespace prunelab {
namespace {

// The signal that asked the ablation to stop, or 0.
volatile std::sig_atomic_t stop_signal = 0;

void List() {
  for (const PluginKind* kind : PluginKind::All()) {
    std::cout << kind->noun() << ":\n";
    size_t width = 0;
    for (const auto& [name, info] : kind->linked()) width = std::max(width, name.size() + 2);
    for (const auto& [name, info] : kind->linked()) {
      const Method& method = info.method();
      std::cout << "  " << name << std::string(width - name.size(), ' ') << method.summary();
      if (method.has_paper()) std::cout << " (" << method.paper() << ")";
      std::cout << "\n";
    }
  }
}

// Refuses a config that the ablation would overwrite. It may overwrite its own copy, because that says the same.
absl::Status CheckConfigStays(const std::string& config, const std::string& output, const Ablation& ablation) {
  for (const char* name : kOutputFiles) {
    if (!SameFile(config, JoinPath(output, name))) continue;
    const absl::StatusOr<std::string> text = ReadFile(config);
    if (absl::string_view(name) == kAblationFile && text.ok() && *text == PrettyText(ablation)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "--config=", FLAGS_config, ": is the file ", name,
        " of the results, which would be written over; keep the config elsewhere, or use another --output"));
  }
  return absl::OkStatus();
}

const std::vector<std::string> kWorkerCommand = {"/proc/self/exe", "--worker"};

absl::StatusOr<RankOptions> RanksOf() {
  PRUNELAB_ASSIGN_OR_RETURN(RankOptions ranks, ParseRanks(FLAGS_ranks, EnvironmentValue));
  if (!(FLAGS_rank_timeout >= 1 && FLAGS_rank_timeout <= 1e6)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--rank_timeout=", FLAGS_rank_timeout, ": must be 1 second or more"));
  }
  ranks.silence_seconds = FLAGS_rank_timeout;
  if (ranks.count > 1 && ranks.launched && FLAGS_jobs > 1) {
    return absl::InvalidArgumentError(
        "--jobs goes with --ranks=N on one machine; with --ranks=env there is one run at once");
  }
  return ranks;
}

// Of a rank that torchrun or srun has started beside rank 0; returns the exit status.
int Follow(const RankOptions& ranks) {
  HandleStopSignals([](int number) { stop_signal = number; });
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status = FollowRanks(ranks, kWorkerCommand, [] { return stop_signal != 0; });
  if (stop_signal != 0) return 128 + stop_signal;
  if (!absl::IsAborted(status)) return ExitStatus(status);
  std::cerr << "rank " << ranks.rank << ": " << status.message() << "\n";
  return kNotAllDone;
}

// Reads the flags' options for the loaded ablation, and prints what the user should know about the share.
absl::StatusOr<RunnerOptions> OptionsOf(const LoadedAblation& loaded) {
  RunnerOptions options;
  options.output = UserPath(FLAGS_output.empty() ? JoinPath("runs", loaded.ablation.name()) : FLAGS_output);
  PRUNELAB_RETURN_IF_ERROR(CheckConfigStays(UserPath(FLAGS_config), options.output, loaded.ablation));
  PRUNELAB_RETURN_IF_ERROR(CheckDeviceName(FLAGS_device));
  options.device = FLAGS_device;
  if (!(FLAGS_expected_sd >= 0 && FLAGS_expected_sd <= std::numeric_limits<double>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("--expected_sd=", FLAGS_expected_sd, ": must be 0 or more, and finite"));
  }
  if (FLAGS_expected_sd != 0 && !FLAGS_dry_run) {
    return absl::InvalidArgumentError("--expected_sd goes with --dry_run, which says what the seeds can show");
  }
  for (const auto& [name, value] : {std::pair("jobs", FLAGS_jobs), std::pair("threads_per_run", FLAGS_threads_per_run),
                                    std::pair("retries", FLAGS_retries)}) {
    if (value >= 0) continue;
    return absl::InvalidArgumentError(absl::StrCat("--", name, "=", value, ": must be 0 or more"));
  }
  options.jobs = FLAGS_jobs;
  options.threads_per_run = FLAGS_threads_per_run;
  options.retries = FLAGS_retries;
  if (!FLAGS_shard.empty()) {
    const absl::StatusOr<Shard> shard = ParseShard(FLAGS_shard);
    if (!shard.ok()) return absl::InvalidArgumentError(absl::StrCat("--shard: ", shard.status().message()));
    options.shard = *shard;
  }
  PRUNELAB_ASSIGN_OR_RETURN(options.ranks, RanksOf());
  options.worker_command = kWorkerCommand;
  options.stop = [] { return stop_signal != 0; };
  options.terminal = isatty(STDERR_FILENO) != 0;
  options.arms = loaded.arms;
  options.seeds = loaded.ablation.seeds();
  if (!FLAGS_arms.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options.arms, SelectArms(loaded.arms, FLAGS_arms));
  }
  if (!FLAGS_seeds.empty()) {
    PRUNELAB_ASSIGN_OR_RETURN(options.seeds, ParseSeeds(FLAGS_seeds));
  }
  if (loaded.ablation.has_search()) {
    for (const auto& [flag, value] : {std::pair("arms", FLAGS_arms), std::pair("seeds", FLAGS_seeds)}) {
      if (value.empty()) continue;
      return absl::InvalidArgumentError(absl::StrCat("--", flag,
                                                     " does not go with a search, which is all of its trials "
                                                     "with all of its seeds; leave it out, or change the config"));
    }
    if (!FLAGS_shard.empty()) {
      std::cout << options.shard.name << " trains the search's trials together with the others, as they come\n";
    }
  } else if (!FLAGS_shard.empty()) {
    PRUNELAB_RETURN_IF_ERROR(CheckShard(options.shard, options.seeds));
    std::cout << ShardText(options.shard, options.seeds) << std::endl;
  } else if (IsSlurmTask()) {
    std::cerr
        << "A task of a Slurm array, but without --shard: all seeds are this task's (--shard=slurm: its share).\n";
  }
  return options;
}

absl::Status SayPlan(const LoadedAblation& loaded, const RunnerOptions& options) {
  PRUNELAB_ASSIGN_OR_RETURN(const std::string text, DryRun(loaded, options));
  std::cout << text << "\n" << PlannedPower(loaded.ablation, options.seeds.count(), options.output, FLAGS_expected_sd);
  return absl::OkStatus();
}

// What a search has come to.
void SaySearch(const RunnerOptions& options, const AblationOutcome& outcome) {
  const SearchOutcome& search = *outcome.search;
  if (outcome.trained == 0) std::cout << "Nothing was left to train.\n";
  std::cout << "\n" << Aligned(TrialRows(search)) << "\nValidation top-1 in %, where trials were compared.\n";
  if (outcome.hours_are_over && !search.over) {
    std::cout << "Its hours are used up; with more of them (search { hours }) the same command goes on.\n";
  }
  if (search.best) {
    std::cout << "Its config, which looks at the test data, with seeds of its own: "
              << JoinPath(options.output, kBestFile) << "\n";
  }
}

// What came of the runs, and of the report on them.
void SayOutcome(const RunnerOptions& options, const AblationOutcome& outcome,
                const absl::StatusOr<std::string>& report) {
  std::vector<std::string> names;
  for (const Arm& arm : options.arms) names.push_back(arm.name);
  if (outcome.search) {
    SaySearch(options, outcome);
  } else {
    if (outcome.trained == 0) std::cout << "All " << outcome.results.size() << " runs were done already.\n";
    std::cout << "\n"
              << ResultsTable(names, outcome.results)
              << "\nMean +- standard deviation over seeds, at the last epoch.\n";
  }
  std::cout << "Results: " << JoinPath(options.output, kResultsFile) << "\n";
  if (report.ok()) std::cout << "Report: " << JoinPath(options.output, kReportFile) << "\n\n" << *report;
  for (const RunResult& result : outcome.results) {
    if (result.status == "failed")
      std::cerr << result.arm << " seed " << result.seed << " failed: " << result.message << "\n";
  }
}

// Lets launched ranks know when this process, rank 0, is done, however it ends.
class Followers {
 public:
  // To be called first, so that they find the store while this process still reads its data.
  absl::Status Open(const RankOptions& ranks) {
    if (!ranks.launched || ranks.count == 1) return absl::OkStatus();
    ranks_ = ranks;
    PRUNELAB_ASSIGN_OR_RETURN(store_, OpenLaunchedStore(ranks, [] { return stop_signal != 0; }));
    return absl::OkStatus();
  }
  ~Followers() {
    const RanksEnd end = stop_signal != 0 ? RanksEnd::kStopped : all_done_ ? RanksEnd::kAllDone : RanksEnd::kFailed;
    if (store_ != nullptr) EndFollowers(*store_, ranks_, end);
  }
  // Returns the exit status given.
  int Done(int status) {
    all_done_ = status == 0;
    return status;
  }
  std::shared_ptr<RankStore> store() const { return store_; }

 private:
  RankOptions ranks_;
  std::shared_ptr<RankStore> store_;
  bool all_done_ = false;
};

// Trains the runs and reports on them; returns the exit status.
int Train(const LoadedAblation& loaded, const RunnerOptions& options) {
  HandleStopSignals([](int number) { stop_signal = number; });
  // The reader of this output may end before the runs do: the reader of a pipe, or a terminal that is closed. Then
  // nothing more is printed, and the runs continue or write their checkpoints.
  signal(SIGPIPE, SIG_IGN);
  const absl::StatusOr<AblationOutcome> outcome = RunAblation(loaded, options);
  if (!outcome.ok()) return ExitStatus(outcome.status());
  const absl::StatusOr<std::string> report = WriteReport({options.output}, options.output);
  if (!report.ok()) std::cerr << "no report could be made: " << report.status().message() << "\n";
  if (outcome->stopped) {
    std::cerr << "Stopped; the same command goes on from here.\n";
    return stop_signal != 0 ? 128 + stop_signal : kNotAllDone;  // 0: another rank was asked to stop
  }
  SayOutcome(options, *outcome, report);
  return outcome->failed > 0 || !report.ok() ? kNotAllDone : 0;
}

int Main() {
  if (FLAGS_list) {
    List();
    return 0;
  }
  const absl::StatusOr<RankOptions> ranks = RanksOf();
  if (!ranks.ok()) return ExitStatus(ranks.status());
  Followers followers;
  if (!FLAGS_dry_run) {
    if (ranks->follows()) return Follow(*ranks);
    const absl::Status opened = followers.Open(*ranks);
    if (!opened.ok()) return ExitStatus(opened);
  }
  if (FLAGS_config.empty()) {
    return ExitStatus(
        absl::InvalidArgumentError("--config is missing; e.g. --config=experiments/configs/digits.textproto"));
  }
  const absl::StatusOr<LoadedAblation> loaded = LoadAblation(FLAGS_config, FLAGS_override);
  if (!loaded.ok()) return ExitStatus(loaded.status());
  absl::StatusOr<RunnerOptions> options = OptionsOf(*loaded);
  if (!options.ok()) return ExitStatus(options.status());
  options->launched_store = followers.store();
  return followers.Done(FLAGS_dry_run ? ExitStatus(SayPlan(*loaded, *options)) : Train(*loaded, *options));
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  prunelab::SetUpTrainingProcess(argv);
  return prunelab::RunMain("runs an ablation over seeds and reports it; see README.md", argc, argv,
                           [] { return FLAGS_worker ? prunelab::RunWorker() : prunelab::Main(); });
}
