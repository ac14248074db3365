#include "tools/engine_timer.h"

#include <poll.h>
#include <stdlib.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "experiments/sweep/worker_process.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"
#include "ml/base/stop_signals.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/onnx_export.h"
#include "tools/engine_latency.h"

namespace prunelab {
namespace {

// A folder of its own, removed at the end.
class TemporaryFolder {
 public:
  static absl::StatusOr<TemporaryFolder> Make() {
    const char* parent = std::getenv("TMPDIR");
    std::string path = absl::StrCat(parent != nullptr && *parent != '\0' ? parent : "/tmp", "/prunelab-XXXXXX");
    if (mkdtemp(path.data()) == nullptr) {
      const int error = errno;
      return absl::FailedPreconditionError(
          absl::StrCat(path, ": no such folder can be made: ", std::strerror(error), "; TMPDIR names another place"));
    }
    return TemporaryFolder(std::move(path));
  }
  TemporaryFolder(TemporaryFolder&& other) : path_(std::exchange(other.path_, "")) {}
  ~TemporaryFolder() {
    std::error_code ignored;
    if (!path_.empty()) std::filesystem::remove_all(path_, ignored);
  }
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

volatile std::sig_atomic_t stopped = 0;

// While it lives, signals that end the program let it remove its folder first.
class NoticedStops {
 public:
  NoticedStops() {
    stopped = 0;
    HandleStopSignals([](int signal) { stopped = signal; });
  }
  ~NoticedStops() { ResetStopSignals(); }
  NoticedStops(const NoticedStops&) = delete;
  NoticedStops& operator=(const NoticedStops&) = delete;
};

// The lines that a command writes to its standard output.
absl::StatusOr<std::vector<std::string>> LinesOf(const std::vector<std::string>& command, const std::string& what) {
  absl::StatusOr<WorkerProcess> started = WorkerProcess::Start(command, {}, {}, "");
  if (!started.ok()) return WithPrefix(what, started.status());
  WorkerProcess process = *std::move(started);
  std::vector<std::string> lines;
  for (;;) {
    const bool ended = process.Ended();
    for (std::string& line : process.ReadLines()) lines.push_back(std::move(line));
    if (ended) break;
    if (stopped != 0) {
      process.Signal(SIGKILL);
      return absl::CancelledError(absl::StrCat("stopped by signal ", static_cast<int>(stopped)));
    }
    struct pollfd files[2] = {{process.output(), POLLIN, 0}, {process.errors(), POLLIN, 0}};
    poll(files, 2, /*milliseconds=*/50);
  }
  if (process.wait_status() == 0) return lines;
  return absl::FailedPreconditionError(absl::StrCat(what, ": ", process.EndText(), ": ", process.LastErrors()));
}

}  // namespace

NetworkTimer EngineTimer(const EngineOptions& engine, const TimerOptions& options) {
  return
      [engine, options](const std::vector<const WeightedNetwork*>& networks) -> absl::StatusOr<std::vector<Latency>> {
        const NoticedStops stops;
        PRUNELAB_ASSIGN_OR_RETURN(const TemporaryFolder folder, TemporaryFolder::Make());
        std::vector<std::string> command = {"/usr/bin/env",
                                            engine.python,
                                            "-c",
                                            std::string(EngineLatencyScript()),
                                            engine.engine,
                                            absl::StrCat("--batch_size=", options.batch_size),
                                            absl::StrCat("--threads=", engine.threads),
                                            absl::StrCat("--runs=", options.runs),
                                            absl::StrCat("--seconds=", options.seconds)};
        for (size_t i = 0; i < networks.size(); ++i) {
          command.push_back(absl::StrCat(folder.path(), "/", i, ".onnx"));
          PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(command.back(), ToOnnx(*networks[i])));
        }
        const std::string what = absl::StrCat("--for=", engine.engine, ": ", engine.python, " cannot time networks in ",
                                              engine.engine, " (--python names one that has it, with numpy)");
        PRUNELAB_ASSIGN_OR_RETURN(const std::vector<std::string> lines, LinesOf(command, what));
        std::vector<Latency> latencies;
        for (const std::string& line : lines) {
          Latency latency;
          std::istringstream words(line);
          if (words >> latency.median >> latency.first_quartile >> latency.third_quartile >> latency.runs) {
            latencies.push_back(latency);
          }
        }
        if (latencies.size() == networks.size()) return latencies;
        return absl::FailedPreconditionError(
            absl::StrCat(what, ": it printed ", latencies.size(), " times of ", networks.size(), " networks"));
      };
}

}  // namespace prunelab
