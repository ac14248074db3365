// The folder that an ablation writes its results to: the runs in it, and the plan that is kept in it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace prunelab {

// A run by its folder: <root>/<arm>/<seed>.
struct FoundRun {
  std::string arm, folder;
  int64_t seed = 0;
};

// All runs below `root` that have left records, sorted by their folders' names; an arm's name may be any number of
// folders deep. A link to a folder above is not followed.
std::vector<FoundRun> FindRuns(const std::string& root);

// Writes planned.textproto, the ablation as it is before the first run, to a results folder where no run has a result
// yet; otherwise does nothing. A comparison that is not in it was written down later, and is labelled so.
absl::Status KeepPlan(const std::string& output, const std::string& ablation_text);

}  // namespace prunelab
