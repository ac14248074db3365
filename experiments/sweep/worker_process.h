// A child process that the coordinator watches: gets its input at once on standard input, speaks in lines on standard
// output, and what it says on standard error is kept for the case that it dies.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace prunelab {

class WorkerProcess {
 public:
  // Starts `command` with `environment` ("NAME=value") added. It dies with this process (parent-death signal), stays in
  // its process group, and runs on `cpus` only unless that is empty.
  static absl::StatusOr<WorkerProcess> Start(const std::vector<std::string>& command,
                                             const std::vector<std::string>& environment, const std::vector<int>& cpus,
                                             const std::string& input);

  WorkerProcess(WorkerProcess&&) = default;
  WorkerProcess& operator=(WorkerProcess&&) = default;

  // Files to poll for reading; -1 once closed.
  int output() const { return output_; }
  int errors() const { return errors_; }

  // Reads what is there without waiting and returns the lines that became complete.
  std::vector<std::string> ReadLines();

  // Whether it has ended; then wait_status() is what waitpid gave, and all its output has been read.
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
