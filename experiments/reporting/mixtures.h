// Runs that are compared with each other but were made on different machines or by different programs.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/run_records.h"

namespace prunelab {

// "a, b, c and 4 more": at most six names.
std::string SomeOf(const std::vector<std::string>& names);

// A note for each way in which the runs of one seed differ, with the affected comparisons: "Pairs of runs differ in
// threads (1, 2) in: a vs. b."
std::vector<std::string> NotesOnMixtures(const Ablation& ablation, const std::vector<RunRecords>& runs);

}  // namespace prunelab
