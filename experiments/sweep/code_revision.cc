#include "experiments/sweep/code_revision.h"

#include <poll.h>

#include <cstdlib>
#include <vector>

#include "absl/strings/ascii.h"
#include "experiments/sweep/worker_process.h"

namespace prunelab {

std::string CodeRevision() {
  constexpr char kUnknown[] = "unknown";
  const char* workspace = std::getenv("BUILD_WORKSPACE_DIRECTORY");
  if (workspace == nullptr || *workspace == '\0') return kUnknown;
  absl::StatusOr<WorkerProcess> git = WorkerProcess::Start(
      {"/usr/bin/env", "git", "-C", workspace, "describe", "--always", "--dirty", "--abbrev=40"}, {}, {}, "");
  if (!git.ok()) return kUnknown;
  std::vector<std::string> lines;
  const auto read = [&] {
    for (std::string& line : git->ReadLines()) lines.push_back(std::move(line));
  };
  while (!git->Ended()) {
    pollfd file = {git->output(), POLLIN, 0};
    poll(&file, 1, 20);
    read();
  }
  read();
  const std::string revision(lines.empty() ? "" : absl::StripAsciiWhitespace(lines.front()));
  return git->wait_status() == 0 && !revision.empty() ? revision : kUnknown;
}

}  // namespace prunelab
