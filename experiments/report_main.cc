// Writes the report on existing results: see report.h and docs/report.md.
//
//   bazel run //experiments:report -- --results=runs/digits
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <vector>

#include "experiments/reporting/report.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"
#include "ml/base/path_list.h"
#include "ml/base/status_macros.h"
#include "ml/base/with_prefix.h"

DEFINE_string(results, "",
              "Results folders of ablations, e.g. runs/digits; a comma between several, \\, for one in a name.");
DEFINE_string(output, "", "Folder for the report; default the first results folder.");

namespace prunelab {
namespace {

absl::Status Main() {
  absl::StatusOr<std::vector<std::string>> folders = PathsOf(FLAGS_results);
  if (!folders.ok()) return WithPrefix("--results", folders.status());
  for (std::string& path : *folders) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
  }
  if (folders->empty()) {
    return absl::InvalidArgumentError(
        "--results is missing; give the folder that an ablation has written, e.g. --results=runs/digits");
  }
  const std::string output = FLAGS_output.empty() ? folders->front() : UserPath(FLAGS_output);
  PRUNELAB_ASSIGN_OR_RETURN(const std::string text, WriteReport(*folders, output));
  std::cout << text << "\nReport: " << PathForPeople(JoinPath(output, "report.html")) << "\n";
  return absl::OkStatus();
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  return prunelab::RunMain("writes the report on results folders; see docs/report.md", argc, argv,
                           [] { return prunelab::ExitStatus(prunelab::Main()); });
}
