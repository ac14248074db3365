// The worker's side: one run in a process of its own. The coordinator starts the program itself with --worker, writes
// the request (RunRequest in run.proto) on its standard input, and reads messages (WorkerMessage), one a line, from its
// standard output.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "experiments/runs/run.h"

namespace prunelab {

// Exit statuses of a worker. With 0 there is a result.json; with any other there is a text on standard error.
// kWorkerBusy: another process trains the run. None of them is 1, because that is how a library that gives up, or a
// sanitizer, ends a process, which is a crash. kWorkerOutOfMemory is treated as one: other runs may leave a GPU more
// memory later.
// kLostRankStatus (ml/distributed/ranks.h): another process that trains the run has gone; a crash like others.
constexpr int kWorkerDone = 0, kWorkerFailed = 70, kWorkerOutOfMemory = 71, kWorkerBusy = 73, kWorkerStopped = 75;

// The request in `bytes`, which is a RunRequest as serialized. Errors: it is none, or a field is missing.
absl::StatusOr<RunRequest> ParseRunRequest(const std::string& bytes);

// A message as a line of text, and back. No value: the line is none of ours.
std::string WorkerLine(const WorkerMessage& message);
std::optional<WorkerMessage> ParseWorkerMessage(const std::string& line);

// What `work` returns, or Aborted, with what to do about it, if a GPU's memory did not suffice for it.
absl::Status WithinGpuMemory(const std::function<absl::Status()>& work);

// Reads the request and trains; returns the exit status. A stop signal (stop_signals.h) makes it write a checkpoint
// after the current step and end with kWorkerStopped.
int RunWorker();

}  // namespace prunelab
