// The report on results folders: the files that people open, show and put into papers.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::string verdicts, WriteReport({"runs/digits"}, "runs/digits"));
//
// It is written to `output`: report.html (one file that needs no network), results.csv, comparisons.json, summary.md,
// summary.tex. docs/report.md describes them. Only the records are needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// Reads the results folders and writes one report on all of them; `output` is created if it is missing. Returns the
// text for a terminal: what to know first, and the verdicts. Errors: a folder without results, files that cannot be
// written.
absl::StatusOr<std::string> WriteReport(const std::vector<std::string>& results, const std::string& output);

// What `seeds` planned seeds of the ablation can show (PowerText), with the spread of the runs in `output`, if there
// are any. Writes nothing.
std::string PlannedPower(const Ablation& ablation, int64_t seeds, const std::string& output, double expected_sd);

// `path` as a user in the folder of the command would write it: relative if it is below that folder.
std::string PathForPeople(const std::string& path);

}  // namespace prunelab
