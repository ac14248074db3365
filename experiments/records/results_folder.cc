#include "experiments/records/results_folder.h"

#include <sys/stat.h>

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "experiments/config/output_files.h"
#include "ml/base/files.h"

namespace prunelab {
namespace {

constexpr size_t kMaxDepth = 40;  // of folders

// <arm>/<seed>/ with records in it; an arm is any number of folders deep. `above`: the folders that enclose this one,
// so that a link to one of them is not followed in circles.
void FindRuns(const std::string& root, const std::string& relative, std::vector<std::pair<dev_t, ino_t>>* above,
              std::vector<FoundRun>* found) {
  const std::string folder = relative.empty() ? root : JoinPath(root, relative);
  const absl::StatusOr<std::vector<std::string>> names = ListFolder(folder);
  struct stat info;
  if (!names.ok() || above->size() > kMaxDepth || stat(folder.c_str(), &info) != 0) return;
  const std::pair<dev_t, ino_t> self(info.st_dev, info.st_ino);
  if (std::find(above->begin(), above->end(), self) != above->end()) return;
  const std::set<std::string> all(names->begin(), names->end());
  const size_t slash = relative.rfind('/');
  const std::string last = slash == std::string::npos ? "" : relative.substr(slash + 1);
  int64_t seed = 0;
  if (slash != std::string::npos && absl::SimpleAtoi(last, &seed) && last == absl::StrCat(seed) &&
      (all.count("result.json") || all.count("epochs.jsonl") || all.count("config.textproto"))) {
    found->push_back({relative.substr(0, slash), folder, seed});
    return;
  }
  above->push_back(self);
  for (const std::string& name : *names) {
    if (IsFolder(JoinPath(folder, name))) {
      FindRuns(root, relative.empty() ? name : JoinPath(relative, name), above, found);
    }
  }
  above->pop_back();
}

}  // namespace

std::vector<FoundRun> FindRuns(const std::string& root) {
  std::vector<std::pair<dev_t, ino_t>> above;
  std::vector<FoundRun> found;
  FindRuns(root, "", &above, &found);
  return found;
}

absl::Status KeepPlan(const std::string& output, const std::string& ablation_text) {
  const std::vector<FoundRun> found = FindRuns(output);
  const bool any_result = std::any_of(
      found.begin(), found.end(), [](const FoundRun& run) { return PathExists(JoinPath(run.folder, "result.json")); });
  if (any_result) return absl::OkStatus();
  return WriteFileAtomically(JoinPath(output, kPlanFile), ablation_text);
}

}  // namespace prunelab
