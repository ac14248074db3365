#include "experiments/sweep/worker.h"

#include <c10/util/Exception.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <iostream>
#include <iterator>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "ml/base/status_macros.h"
#include "ml/base/stop_signals.h"
#include "ml/distributed/ranks.h"

namespace prunelab {
namespace {

volatile std::sig_atomic_t stop_asked = 0;

void AskToStop(int) { stop_asked = 1; }

absl::Status Work() {
  const std::string bytes{std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
  PRUNELAB_ASSIGN_OR_RETURN(const RunRequest request, ParseRunRequest(bytes));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<Ranks> ranks, JoinRanks(request));
  const absl::StatusOr<Dataset> dataset = OpenDataset(request.config().dataset());
  if (!dataset.ok()) {
    if (ranks != nullptr) ranks->Abandon(std::string(dataset.status().message()));
    return dataset.status();
  }
  const auto say = [](const WorkerMessage& message) { std::cout << WorkerLine(message) << "\n" << std::flush; };
  RunHooks hooks;
  auto last = std::chrono::steady_clock::time_point();
  hooks.on_progress = [&](const RunProgress& progress) {
    const auto now = std::chrono::steady_clock::now();
    if (now - last < std::chrono::milliseconds(100)) return;
    last = now;
    WorkerMessage message;
    *message.mutable_progress() = progress;
    say(message);
  };
  hooks.on_warning = [&](const std::string& warning) {
    WorkerMessage message;
    message.set_warning(warning);
    say(message);
  };
  hooks.stop = [] { return stop_asked != 0; };
  return TrainRun(request, *dataset, hooks, ranks.get()).status();
}

}  // namespace

absl::StatusOr<RunRequest> ParseRunRequest(const std::string& bytes) {
  RunRequest request;
  bool whole = request.ParseFromString(bytes);
  const google::protobuf::Descriptor& fields = *RunRequest::descriptor();
  for (int i = 0; i < fields.field_count(); ++i) {
    whole = whole && request.GetReflection()->HasField(request, fields.field(i));
  }
  if (whole) return request;
  return absl::InvalidArgumentError(
      "--worker is how the program starts itself for a run; it reads the run's request from its standard input");
}

std::string WorkerLine(const WorkerMessage& message) { return absl::Base64Escape(message.SerializeAsString()); }

std::optional<WorkerMessage> ParseWorkerMessage(const std::string& line) {
  std::string bytes;
  WorkerMessage message;
  if (!absl::Base64Unescape(line, &bytes) || !message.ParseFromString(bytes)) return std::nullopt;
  if (message.message_case() == WorkerMessage::MESSAGE_NOT_SET) return std::nullopt;
  return message;
}

absl::Status WithinGpuMemory(const std::function<absl::Status()>& work) {
  try {
    return work();
  } catch (const c10::OutOfMemoryError& error) {
    return absl::AbortedError(
        absl::StrCat("the GPU's memory does not suffice; fewer --jobs, a smaller batch_size or evaluation_batch_size "
                     "need less: ",
                     error.what_without_backtrace()));
  }
}

int RunWorker() {
  HandleStopSignals(AskToStop, SA_RESTART);
  // If the coordinator has died, its worker is told by another signal, and nobody reads what the worker says.
  signal(SIGPIPE, SIG_IGN);
  const absl::Status status = WithinGpuMemory(Work);
  if (status.ok()) return kWorkerDone;
  std::cerr << status.message() << "\n";
  if (absl::IsUnavailable(status)) return kWorkerBusy;
  if (absl::IsAborted(status)) return kWorkerOutOfMemory;
  if (absl::IsDeadlineExceeded(status)) return kLostRankStatus;
  return absl::IsCancelled(status) ? kWorkerStopped : kWorkerFailed;
}

}  // namespace prunelab
