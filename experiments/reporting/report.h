// The report on results folders: what a person opens, shows and puts into a paper.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const std::string verdicts, WriteReport({"runs/digits"}, "runs/digits"));
//
// Written into `output`: report.html (one file that needs no network), results.csv, comparisons.json, summary.md,
// summary.tex. docs/report.md describes them. It works from the records alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"

namespace prunelab {

// Reads the results folders and writes the report on all of them together; `output` is made where it is missing.
// Returns what a terminal should show: what to know first, and the verdicts. Errors: a folder that holds no results,
// files that cannot be written.
absl::StatusOr<std::string> WriteReport(const std::vector<std::string>& results, const std::string& output);

// What `seeds` planned seeds of the ablation can show (PowerText), the spread taken from the runs that `output` holds,
// if any. Writes nothing.
std::string PlannedPower(const Ablation& ablation, int64_t seeds, const std::string& output, double expected_sd);

// `path` as a person in the folder of the command would write it: relative where it is below that folder.
std::string PathForPeople(const std::string& path);

}  // namespace prunelab
