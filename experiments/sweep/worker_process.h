// A child process that the coordinator watches. It gets its input at once on standard input and writes lines to
// standard output. Its standard error is kept for the case that it dies.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

class WorkerProcess {
 public:
  // Starts `command` with `environment` ("NAME=value") added. It gets `parent_death_signal` when this process dies,
  // stays in its process group, and runs only on `cpus`, unless that is empty.
  static absl::StatusOr<WorkerProcess> Start(const std::vector<std::string>& command,
                                             const std::vector<std::string>& environment, const std::vector<int>& cpus,
                                             const std::string& input, int parent_death_signal = SIGKILL);

  WorkerProcess(WorkerProcess&&) = default;
  WorkerProcess& operator=(WorkerProcess&&) = default;

  // Files to poll for reading; -1 once closed.
  int output() const { return output_; }
  int errors() const { return errors_; }

  // Reads without blocking and returns the lines that became complete.
  std::vector<std::string> ReadLines();

  // Whether it has ended; then wait_status() is what waitpid returned, and all its output has been read.
  bool Ended();
  int wait_status() const { return wait_status_; }
  // "exit status 3", "signal 11 (Segmentation fault)", ...
  std::string EndText() const;
  // The last lines of its standard error.
  std::string LastErrors() const;

  void Signal(int signal) const;
  pid_t pid() const { return pid_; }

 private:
  WorkerProcess() = default;
  pid_t pid_ = -1;
  int output_ = -1, errors_ = -1;
  bool ended_ = false;
  int wait_status_ = 0;
  std::string pending_, error_tail_;
  std::vector<std::string> unread_;  // lines that Ended found
};

}  // namespace prunelab
