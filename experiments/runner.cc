#include "experiments/runner.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <torch/csrc/api/include/torch/version.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "experiments/report_records.h"
#include "experiments/run_events.h"
#include "experiments/table.h"
#include "ml/base/field_error.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/execution/checkpoint.h"
#include "ml/execution/device.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/trainer.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

double Now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

struct Run {
  const Arm* arm = nullptr;
  int64_t seed = 0;
  const Dataset* dataset = nullptr;
  std::string folder, run_id;
};

std::string RunFolder(const RunnerOptions& options, const Arm& arm, int64_t seed) {
  return JoinPath(JoinPath(options.output, arm.name), absl::StrCat(seed));
}

// Seconds and images a second of all epochs trained in the folder, from its timing.jsonl; nothing where there is none.
void AddTiming(const std::string& folder, RunResult& result) {
  const absl::StatusOr<std::string> timing = ReadFile(JoinPath(folder, "timing.jsonl"));
  if (!timing.ok()) return;
  double seconds = 0, images = 0;
  for (const absl::string_view line : absl::StrSplit(*timing, '\n', absl::SkipEmpty())) {
    const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
    if (!json.is_object()) continue;
    seconds += json.value("seconds", 0.0);
    images += json.value("images", 0.0);
  }
  if (seconds > 0) {
    result.seconds = seconds;
    result.images_per_second = images / seconds;
  }
}

// The result of a run that its folder holds, if any. A folder that another config made is refused.
absl::StatusOr<std::optional<RunResult>> FinishedResult(const Run& run) {
  const std::string config_path = JoinPath(run.folder, "config.textproto");
  if (PathExists(config_path)) {
    RunConfig old_config;
    PRUNELAB_ASSIGN_OR_RETURN(const auto source, TextProtoSource::ParseFile(config_path, &old_config));
    const std::string difference = ArmDifference(old_config, run.arm->config);
    if (!difference.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(run.folder, ": holds a run of another config; the arm \"",
                                                        run.arm->name, "\" now differs in\n", difference,
                                                        "Give the changed arm another name, or use another --output."));
    }
  }
  const std::string path = JoinPath(run.folder, "result.json");
  if (!PathExists(path)) return std::optional<RunResult>();
  PRUNELAB_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  PRUNELAB_ASSIGN_OR_RETURN(RunResult result, ParseResult(text, path));
  if (!run.run_id.empty() && result.run_id != run.run_id) {
    return absl::FailedPreconditionError(
        absl::StrCat(path,
                     ": its run was made with other data (its fingerprint is not that of the data set now); use "
                     "another --output"));
  }
  if (result.status != "done" && result.status != "diverged")
    return std::optional<RunResult>();  // a failed run is tried again
  AddTiming(run.folder, result);
  return std::optional<RunResult>(std::move(result));
}

std::string CodeRevision() {
  const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  if (workspace == nullptr) return "unknown";
  FILE* pipe =
      popen(absl::StrCat("git -C '", workspace, "' describe --always --dirty --abbrev=40 2>/dev/null").c_str(), "r");
  if (pipe == nullptr) return "unknown";
  char line[128] = "";
  const bool read = fgets(line, sizeof(line), pipe) != nullptr;
  pclose(pipe);
  const std::string revision(absl::StripAsciiWhitespace(line));
  return read && !revision.empty() ? revision : "unknown";
}

std::string CpuName() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (absl::StartsWith(line, "model name"))
      return std::string(absl::StripAsciiWhitespace(line.substr(line.find(':') + 1)));
  }
  return "unknown";
}

std::string Provenance(const Dataset& dataset, at::Device device, const std::string& revision) {
  Json json;
  json["code_revision"] = revision;
  json["data_fingerprint"] = dataset.fingerprint;
  json["cpu"] = CpuName();
  json["cpu_capability"] = at::get_cpu_capability();
  json["threads"] = at::get_num_threads();
  json["device"] = device.str();
  json["libtorch"] = TORCH_VERSION;
  json["protobuf"] = google::protobuf::internal::VersionString(GOOGLE_PROTOBUF_VERSION);
  return absl::StrCat(json.dump(2), "\n");
}

std::string Duration(double seconds) {
  const int64_t s = static_cast<int64_t>(seconds + 0.5);
  if (s < 60) return absl::StrCat(s, " s");
  if (s < 3600) return absl::StrFormat("%d:%02d min", s / 60, s % 60);
  return absl::StrFormat("%d:%02d h", s / 3600, s / 60 % 60);
}

// Tells a person where the ablation is: one line that is written over on a terminal, else a line a run and at most one
// every ten seconds between.
class Progress {
 public:
  Progress(bool terminal, double total_images)
      : terminal_(terminal), total_(total_images), start_(Now()), last_(start_) {}

  void StartRun(const std::string& name) {
    name_ = name;
    accuracy_.reset();
    run_start_ = Now();
  }
  void Step(const StepProgress& step, int64_t images, int64_t epochs) {
    images_ += static_cast<double>(images);
    const double now = Now();
    if (now - last_ < (terminal_ ? 0.2 : 10)) return;
    last_ = now;
    const double rate = images_ / (now - start_);
    Print(absl::StrFormat("%s  epoch %d/%d  step %d/%d%s  %.0f images/s  %s left", name_, step.epoch + 1, epochs,
                          step.iteration + 1, step.iterations_per_epoch,
                          accuracy_ ? absl::StrFormat("  test %.2f %%", 100 * *accuracy_) : "", rate,
                          Duration((total_ - images_) / rate)));
  }
  void EndEpoch(const EpochRecord& record) {
    if (record.test) accuracy_ = record.test->top1;
  }
  void EndRun(const RunResult& result, int64_t done, int64_t runs, double skipped_images) {
    total_ -= skipped_images;
    const std::string accuracy =
        result.test_top1 ? absl::StrFormat("test %.2f %%", 100 * *result.test_top1) : result.status;
    Print(absl::StrFormat("[%d/%d] %s  %s  %s", done, runs, name_, accuracy, Duration(Now() - run_start_)));
    if (terminal_) std::cerr << "\n";
  }

 private:
  void Print(const std::string& line) {
    if (terminal_) {
      std::cerr << "\r\033[K" << line << std::flush;
    } else {
      std::cerr << line << "\n" << std::flush;
    }
  }
  bool terminal_;
  double total_, start_, last_, run_start_ = 0, images_ = 0;
  std::string name_;
  std::optional<double> accuracy_;
};

// Trains one run into its folder. A status is an error of the file system; what the training itself refuses is a failed
// result.
absl::StatusOr<RunResult> Train(const Run& run, at::Device device, int64_t threads, const std::string& revision,
                                Progress& progress) {
  const RunConfig& config = run.arm->config;
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(config, run.dataset->info));
  at::set_num_threads(
      static_cast<int>(threads > 0 ? threads : ThreadsForWork(network.MacCount() * config.training().batch_size())));
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(run.folder));
  const auto in_folder = [&](const char* name) { return JoinPath(run.folder, name); };
  for (const char* name : {"epochs.jsonl", "timing.jsonl", "result.json", "last.safetensors"}) {
    if (PathExists(in_folder(name)) && unlink(in_folder(name).c_str()) != 0) {
      return absl::PermissionDeniedError(
          absl::StrCat(in_folder(name), ": cannot be removed, and the run must begin anew"));
    }
  }
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(in_folder("config.textproto"), ResolvedText(config)));
  PRUNELAB_RETURN_IF_ERROR(
      WriteFileAtomically(in_folder("provenance.json"), Provenance(*run.dataset, device, revision)));

  TrainingSetup setup;
  setup.network = network;
  setup.dataset = run.dataset;
  setup.config = config.training();
  setup.penalty_weight = config.regularization().weight();
  setup.seed = static_cast<uint64_t>(run.seed);
  setup.device = device;
  PruningSetup pruning;
  pruning.network = &setup.network;
  pruning.seed = setup.seed;
  PRUNELAB_ASSIGN_OR_RETURN(setup.strategy, CreatePruningStrategy(config.pruning(), pruning));
  PRUNELAB_ASSIGN_OR_RETURN(setup.regularizer, CreateRegularizer(config.regularization().regularizer(), setup.network));
  int64_t seen = 0;
  const int64_t epochs = config.training().epochs();
  setup.on_step = [&](const StepProgress& step) {
    if (step.iteration == 0) seen = 0;
    progress.Step(step, step.images - seen, epochs);
    seen = step.images;
  };
  Trainer trainer(std::move(setup));
  PRUNELAB_ASSIGN_OR_RETURN(RunEvents events, RunEvents::Create(run.folder, run.arm->name, run.seed, epochs, 0));
  std::vector<EpochRecord> records;
  std::string failure;
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    const double start = Now();
    absl::StatusOr<EpochRecord> record = trainer.RunEpoch(epoch);
    if (!record.ok()) {
      failure = std::string(record.status().message());
      break;
    }
    PRUNELAB_RETURN_IF_ERROR(AppendLine(in_folder("epochs.jsonl"), EpochLine(*record)));
    Json timing;
    timing["epoch"] = epoch;
    timing["seconds"] = Now() - start;
    timing["images"] = run.dataset->info.train_images;
    PRUNELAB_RETURN_IF_ERROR(AppendLine(in_folder("timing.jsonl"), WithChecksum(timing.dump())));
    PRUNELAB_RETURN_IF_ERROR(events.AddEpoch(*record, trainer.model()));
    progress.EndEpoch(*record);
    records.push_back(*std::move(record));
    if (records.back().diverged) break;
  }
  RunResult result = Summarize(records, network);
  if (!failure.empty()) {
    result.status = "failed";
    result.message = failure;
  }
  result.arm = run.arm->name;
  result.seed = run.seed;
  result.run_id = run.run_id;
  PRUNELAB_RETURN_IF_ERROR(WriteSafetensors(in_folder("last.safetensors"), ModelToSafetensors(trainer.model())));
  PRUNELAB_RETURN_IF_ERROR(events.End(result.status));
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(in_folder("result.json"), ResultJson(result)));
  return result;
}

}  // namespace

int64_t ThreadsForWork(int64_t macs) {
  constexpr int64_t kSmallStep = 200'000'000;  // about 2 ms on one core
  return macs < kSmallStep ? 1 : std::max(1u, std::thread::hardware_concurrency());
}

absl::StatusOr<AblationOutcome> RunAblation(const LoadedAblation& loaded, const RunnerOptions& options) {
  PRUNELAB_ASSIGN_OR_RETURN(const at::Device device, ChooseDevice(options.device));
  // Each data set once, however many arms use it.
  std::map<std::string, std::unique_ptr<Dataset>> datasets;
  std::vector<Run> runs;
  for (const Arm& arm : options.arms) {
    const std::string key = arm.config.dataset().SerializeAsString();
    if (!datasets.count(key)) {
      absl::StatusOr<Dataset> dataset = OpenDataset(arm.config.dataset());
      if (!dataset.ok()) {
        return absl::Status(dataset.status().code(),
                            absl::StrCat("data set of the arm \"", arm.name, "\": ", dataset.status().message()));
      }
      for (const std::string& note : dataset->notes) std::cerr << note << "\n";
      datasets[key] = std::make_unique<Dataset>(*std::move(dataset));
    }
    const Dataset& dataset = *datasets[key];
    PRUNELAB_RETURN_IF_ERROR(BuildRunNetwork(arm.config, dataset.info).status());
    // The loader has checked this too, but only where the data set's sizes were known without its data.
    const absl::Status fits = InField("training", CheckTrainingFitsData(arm.config.training(), dataset.info));
    if (!fits.ok()) return absl::InvalidArgumentError(absl::StrCat("arm \"", arm.name, "\": ", fits.message()));
    for (int64_t i = 0; i < options.seeds.count(); ++i) {
      const int64_t seed = options.seeds.first() + i;
      runs.push_back(
          {&arm, seed, &dataset, RunFolder(options, arm, seed), RunId(arm.config, seed, dataset.fingerprint)});
    }
  }
  std::vector<std::optional<RunResult>> results(runs.size());
  double images_to_train = 0;
  for (size_t i = 0; i < runs.size(); ++i) {
    PRUNELAB_ASSIGN_OR_RETURN(results[i], FinishedResult(runs[i]));
    if (!results[i]) {
      images_to_train +=
          static_cast<double>(runs[i].dataset->info.train_images * runs[i].arm->config.training().epochs());
    }
  }
  PRUNELAB_RETURN_IF_ERROR(CheckFolderCanBeWritten(options.output));
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(options.output));
  const std::string ablation_text = PrettyText(loaded.ablation);
  PRUNELAB_RETURN_IF_ERROR(KeepPlan(options.output, ablation_text));
  PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(options.output, "ablation.textproto"), ablation_text));

  AblationOutcome outcome;
  const auto collect = [&] {
    outcome.results.clear();
    for (size_t i = 0; i < runs.size(); ++i) {
      RunResult missing;
      missing.arm = runs[i].arm->name;
      missing.seed = runs[i].seed;
      missing.status = "missing";
      outcome.results.push_back(results[i].value_or(missing));
    }
    return WriteFileAtomically(JoinPath(options.output, "results.csv"), ResultsCsv(outcome.results));
  };
  PRUNELAB_RETURN_IF_ERROR(collect());
  const std::string revision = CodeRevision();
  Progress progress(options.terminal, images_to_train);
  int64_t done = 0;
  for (const auto& result : results) done += result.has_value();
  // Seed by seed, so that what is there at any moment is nearly balanced over the arms.
  for (int64_t seed_index = 0; seed_index < options.seeds.count(); ++seed_index) {
    for (size_t i = seed_index; i < runs.size(); i += options.seeds.count()) {
      if (results[i]) continue;
      const Run& run = runs[i];
      progress.StartRun(absl::StrCat(run.arm->name, " seed ", run.seed));
      PRUNELAB_ASSIGN_OR_RETURN(RunResult trained, Train(run, device, options.threads_per_run, revision, progress));
      ++outcome.trained;
      outcome.failed += trained.status == "failed";
      if (trained.status != "failed") AddTiming(run.folder, trained);
      results[i] = trained;
      const int64_t left = run.arm->config.training().epochs() - trained.epochs;
      progress.EndRun(trained, ++done, static_cast<int64_t>(runs.size()),
                      static_cast<double>(left * run.dataset->info.train_images));
      PRUNELAB_RETURN_IF_ERROR(collect());
    }
  }
  return outcome;
}

absl::StatusOr<std::string> DryRun(const LoadedAblation& loaded, const RunnerOptions& options) {
  std::vector<std::vector<std::string>> rows = {{"arm", "parameters", "convolutions", "filters", "MACs", "done"}};
  std::string missing;
  int64_t done_runs = 0;
  for (const Arm& arm : options.arms) {
    PRUNELAB_ASSIGN_OR_RETURN(const std::optional<DatasetInfo> info, DescribeRunDataset(arm.config));
    PRUNELAB_ASSIGN_OR_RETURN(const NetworkInfo network, BuildRunNetwork(arm.config, info));
    int64_t done = 0;
    for (int64_t i = 0; i < options.seeds.count(); ++i) {
      const int64_t seed = options.seeds.first() + i;
      PRUNELAB_ASSIGN_OR_RETURN(const std::optional<RunResult> result,
                                FinishedResult({&arm, seed, nullptr, RunFolder(options, arm, seed), ""}));
      done += result.has_value();
    }
    done_runs += done;
    rows.push_back({arm.name, absl::StrCat(network.ParameterCount()), absl::StrCat(network.convs().size()),
                    absl::StrCat(network.FilterCount()), absl::StrCat(network.MacCount()),
                    absl::StrCat(done, " of ", options.seeds.count())});
  }
  const absl::StatusOr<Dataset> dataset = OpenDataset(options.arms.front().config.dataset());
  if (!dataset.ok()) missing = absl::StrCat("Missing: ", dataset.status().message(), "\n");
  const int64_t runs = static_cast<int64_t>(options.arms.size()) * options.seeds.count();
  return absl::StrCat("Ablation \"", loaded.ablation.name(), "\": ", options.arms.size(), " arms, seeds ",
                      options.seeds.first(), " to ", options.seeds.first() + options.seeds.count() - 1, ", ", runs,
                      " runs, ", done_runs, " of them done; output ", options.output, "\n\n", Aligned(rows), "\n",
                      missing);
}

}  // namespace prunelab
