#include "experiments/sweep/worker.h"

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/text_format.h"
#include "ml/base/status_macros.h"
#include "ml/base/stop_signals.h"

namespace prunelab {
namespace {

using Json = nlohmann::json;

volatile std::sig_atomic_t stop_asked = 0;

void AskToStop(int) { stop_asked = 1; }

absl::Status Work() {
  const std::string text{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  PRUNELAB_ASSIGN_OR_RETURN(const RunRequest request, ParseRunRequest(text));
  PRUNELAB_ASSIGN_OR_RETURN(const Dataset dataset, OpenDataset(request.config.dataset()));
  const auto say = [](const WorkerMessage& message) {
    std::cout << SerializeWorkerMessage(message) << "\n" << std::flush;
  };
  RunHooks hooks;
  auto last = std::chrono::steady_clock::time_point();
  hooks.on_progress = [&](const RunProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < std::chrono::milliseconds(100)) return;
    last = now;
    say({progress, ""});
  };
  hooks.on_warning = [&](const std::string& warning) { say({std::nullopt, warning}); };
  hooks.stop = [] { return stop_asked != 0; };
  return TrainRun(request, dataset, hooks).status();
}

}  // namespace

std::string SerializeRunRequest(const RunRequest& request) {
  Json json;
  json["folder"] = absl::CEscape(request.folder);  // names of folders are bytes, JSON is UTF-8
  json["arm"] = request.arm;
  json["seed"] = request.seed;
  google::protobuf::TextFormat::Printer printer;
  std::string config;
  printer.PrintToString(request.config, &config);
  json["config"] = config;
  json["run_id"] = request.run_id;
  json["device"] = request.device;
  json["threads"] = request.threads;
  json["code_revision"] = request.code_revision;
  json["source_folder"] = absl::CEscape(request.source_folder);
  json["source_run_id"] = request.source_run_id;
  return json.dump();
}

absl::StatusOr<RunRequest> ParseRunRequest(const std::string& text) {
  const absl::Status refused = absl::InvalidArgumentError(
      "--worker is how the program starts itself for a run; it reads the run's request from its standard input");
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return refused;
  for (const char* name :
       {"folder", "arm", "config", "run_id", "device", "code_revision", "source_folder", "source_run_id"}) {
    if (!json.contains(name) || !json[name].is_string()) return refused;
  }
  for (const char* name : {"seed", "threads"}) {
    if (!json.contains(name) || !json[name].is_number_integer()) return refused;
  }
  RunRequest request;
  if (!absl::CUnescape(json["folder"].get<std::string>(), &request.folder) ||
      !absl::CUnescape(json["source_folder"].get<std::string>(), &request.source_folder)) {
    return refused;
  }
  request.arm = json["arm"].get<std::string>();
  request.seed = json["seed"].get<int64_t>();
  if (!google::protobuf::TextFormat::ParseFromString(json["config"].get<std::string>(), &request.config)) {
    return refused;
  }
  request.run_id = json["run_id"].get<std::string>();
  request.device = json["device"].get<std::string>();
  request.threads = json["threads"].get<int64_t>();
  request.code_revision = json["code_revision"].get<std::string>();
  request.source_run_id = json["source_run_id"].get<std::string>();
  return request;
}

std::string SerializeWorkerMessage(const WorkerMessage& message) {
  Json json;
  if (!message.progress) {
    json["warning"] = message.warning;
    return json.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  const RunProgress& progress = *message.progress;
  json["epoch"] = progress.epoch;
  json["epochs"] = progress.epochs;
  json["iteration"] = progress.iteration;
  json["iterations"] = progress.iterations_per_epoch;
  json["images"] = progress.images;
  json["images_left"] = progress.images_left;
  if (progress.test_top1) json["test_top1"] = *progress.test_top1;
  return json.dump();
}

std::optional<WorkerMessage> ParseWorkerMessage(const std::string& line) {
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return std::nullopt;
  WorkerMessage message;
  if (json.contains("warning") && json["warning"].is_string()) {
    message.warning = json["warning"].get<std::string>();
    return message;
  }
  for (const char* name : {"epoch", "epochs", "iteration", "iterations", "images", "images_left"}) {
    if (!json.contains(name) || !json[name].is_number_integer()) return std::nullopt;
  }
  RunProgress progress;
  progress.epoch = json["epoch"].get<int64_t>();
  progress.epochs = json["epochs"].get<int64_t>();
  progress.iteration = json["iteration"].get<int64_t>();
  progress.iterations_per_epoch = json["iterations"].get<int64_t>();
  progress.images = json["images"].get<int64_t>();
  progress.images_left = json["images_left"].get<int64_t>();
  if (json.contains("test_top1") && json["test_top1"].is_number()) {
    progress.test_top1 = json["test_top1"].get<double>();
  }
  message.progress = progress;
  return message;
}

int RunWorker() {
  HandleStopSignals(AskToStop, SA_RESTART);
  const absl::Status status = Work();
  if (status.ok()) return kWorkerDone;
  std::cerr << status.message() << "\n";
  if (absl::IsUnavailable(status)) return kWorkerBusy;
  return absl::IsCancelled(status) ? kWorkerStopped : kWorkerFailed;
}

}  // namespace prunelab
