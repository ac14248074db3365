#include "experiments/sweep/worker_process.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "ml/base/stop_signals.h"

extern char** environ;

namespace prunelab {
namespace {

constexpr size_t kKeptErrors = 4096;  // bytes

// Appends what can be read without blocking; closes the file at its end.
void Drain(int& fd, std::string& text) {
  char buffer[4096];
  while (fd >= 0) {
    const ssize_t n = read(fd, buffer, sizeof(buffer));
    if (n > 0) {
      text.append(buffer, n);
    } else if (n < 0 && errno == EINTR) {
      continue;
    } else if (n < 0 && errno == EAGAIN) {
      return;
    } else {
      close(fd);
      fd = -1;
    }
  }
}

// Only async-signal-safe calls, because this runs between fork and exec.
[[noreturn]] void Become(const char* const* command, const char* const* environment, const cpu_set_t* cpus,
                         pid_t parent, int parent_death_signal, const int pipes[3][2]) {
  // Restores the default action of the signals that the coordinator handles.
  ResetStopSignals();
  ::signal(SIGPIPE, SIG_DFL);
  prctl(PR_SET_PDEATHSIG, parent_death_signal);
  if (getppid() != parent) _exit(127);  // the parent died before that was requested
  if (cpus != nullptr) sched_setaffinity(0, sizeof(*cpus), cpus);
  dup2(pipes[0][0], STDIN_FILENO);
  dup2(pipes[1][1], STDOUT_FILENO);
  dup2(pipes[2][1], STDERR_FILENO);
  // Libraries' files, such as the sockets at which ranks meet, are not the worker's. An old kernel may not know this.
#ifdef SYS_close_range
  syscall(SYS_close_range, 3, ~0U, 0);
#endif
  execve(command[0], const_cast<char* const*>(command), const_cast<char* const*>(environment));
  const char text[] = "the program cannot be started\n";
  if (write(STDERR_FILENO, text, sizeof(text) - 1) < 0) _exit(126);
  _exit(127);
}

}  // namespace

absl::StatusOr<WorkerProcess> WorkerProcess::Start(const std::vector<std::string>& command,
                                                   const std::vector<std::string>& environment,
                                                   const std::vector<int>& cpus, const std::string& input,
                                                   int parent_death_signal) {
  std::vector<const char*> arguments, variables;
  for (const std::string& argument : command) arguments.push_back(argument.c_str());
  arguments.push_back(nullptr);
  for (const std::string& variable : environment)
    variables.push_back(variable.c_str());  // the first of the same name counts
  for (char** variable = environ; *variable != nullptr; ++variable) {
    bool replaced = false;
    for (const std::string& own : environment) {
      replaced |= std::strncmp(*variable, own.c_str(), own.find('=') + 1) == 0;
    }
    if (!replaced) variables.push_back(*variable);
  }
  variables.push_back(nullptr);
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const int cpu : cpus) CPU_SET(cpu, &set);

  int pipes[3][2] = {{-1, -1}, {-1, -1}, {-1, -1}};
  const auto close_all = [&] {
    for (auto& pipe : pipes) {
      for (int& fd : pipe) {
        if (fd >= 0) close(fd);
        fd = -1;
      }
    }
  };
  for (auto& pipe : pipes) {
    if (pipe2(pipe, O_CLOEXEC) != 0) {
      const int error = errno;
      close_all();
      return absl::ResourceExhaustedError(absl::StrCat("a worker's pipes cannot be made: ", std::strerror(error)));
    }
  }
  WorkerProcess process;
  const pid_t parent = getpid();
  process.pid_ = fork();
  if (process.pid_ < 0) {
    const int error = errno;
    close_all();
    return absl::ResourceExhaustedError(
        absl::StrCat("a worker cannot be started: ", std::strerror(error), "; fewer --jobs need less"));
  }
  if (process.pid_ == 0) {
    Become(arguments.data(), variables.data(), cpus.empty() ? nullptr : &set, parent, parent_death_signal, pipes);
  }

  std::swap(process.output_, pipes[1][0]);
  std::swap(process.errors_, pipes[2][0]);
  for (const int fd : {process.output_, process.errors_}) fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
  close(pipes[0][0]);
  pipes[0][0] = -1;
  // A worker that dies at once must not end the coordinator by SIGPIPE; its end will be noticed soon enough.
  struct sigaction ignore = {}, old = {};
  ignore.sa_handler = SIG_IGN;
  sigaction(SIGPIPE, &ignore, &old);
  size_t written = 0;
  while (written < input.size()) {
    const ssize_t n = write(pipes[0][1], input.data() + written, input.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) break;
    written += n;
  }
  sigaction(SIGPIPE, &old, nullptr);
  close_all();
  return process;
}

std::vector<std::string> WorkerProcess::ReadLines() {
  std::vector<std::string> lines = std::exchange(unread_, {});
  Drain(output_, pending_);
  Drain(errors_, error_tail_);
  if (error_tail_.size() > kKeptErrors) error_tail_.erase(0, error_tail_.size() - kKeptErrors);
  for (size_t end; (end = pending_.find('\n')) != std::string::npos;) {
    lines.push_back(pending_.substr(0, end));
    pending_.erase(0, end + 1);
  }
  return lines;
}

bool WorkerProcess::Ended() {
  if (ended_) return true;
  const pid_t waited = waitpid(pid_, &wait_status_, WNOHANG);
  if (waited == 0 || (waited < 0 && errno == EINTR)) return false;
  ended_ = true;
  unread_ = ReadLines();
  // A grandchild may hold the pipes open; its output does not matter to us.
  for (int* fd : {&output_, &errors_}) {
    if (*fd >= 0) close(*fd);
    *fd = -1;
  }
  return true;
}

std::string WorkerProcess::EndText() const {
  if (WIFSIGNALED(wait_status_)) {
    const int signal = WTERMSIG(wait_status_);
    return absl::StrCat("signal ", signal, " (", strsignal(signal), ")",
                        signal == SIGKILL ? "; the system does that when memory runs out" : "");
  }
  return absl::StrCat("exit status ", WEXITSTATUS(wait_status_));
}

std::string WorkerProcess::LastErrors() const { return std::string(absl::StripAsciiWhitespace(error_tail_)); }

void WorkerProcess::Signal(int signal) const {
  if (!ended_) kill(pid_, signal);
}

}  // namespace prunelab
