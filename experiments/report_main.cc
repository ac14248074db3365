// Writes the report on results that are there: see report.h and docs/report.md.
//
//   bazel run //experiments:report -- --results=runs/digits
#include <gflags/gflags.h>

#include <iostream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "experiments/report.h"
#include "ml/base/files.h"
#include "ml/base/flags.h"

DEFINE_string(results, "", "Results folders of ablations, e.g. runs/digits; a comma between several.");
DEFINE_string(output, "", "Folder for the report; default the first results folder.");

namespace prunelab {
namespace {

int Main() {
  std::vector<std::string> folders;
  for (const absl::string_view folder : absl::StrSplit(FLAGS_results, ',', absl::SkipWhitespace())) {
    std::string path = UserPath(folder);
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    folders.push_back(path);
  }
  if (folders.empty()) {
    std::cerr << "--results is missing; give the folder that an ablation has written, e.g. --results=runs/digits\n";
    return 2;
  }
  const std::string output = FLAGS_output.empty() ? folders.front() : UserPath(FLAGS_output);
  const absl::StatusOr<std::string> text = WriteReport(folders, output);
  if (!text.ok()) {
    std::cerr << text.status().message() << "\n";
    return 2;
  }
  std::cout << *text << "\nReport: " << PathForPeople(JoinPath(output, "report.html")) << "\n";
  return 0;
}

}  // namespace
}  // namespace prunelab

int main(int argc, char** argv) {
  const absl::Status parsed =
      prunelab::ParseFlags("writes the report on results folders; see docs/report.md", argc, argv);
  if (!parsed.ok()) {
    std::cerr << parsed.message() << "\n";
    return 2;
  }
  return prunelab::Main();
}
