// Reads results folders for the report: runs with their curves, where they came from, and everything in them that is
// incomplete, damaged, edited or inconsistent, which is reported and left out.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const ReportRecords records, ReadResults({"runs/digits"}));
//   for (const std::string& note : records.notes) ...  // "none/cov seed 3 is left out: ..."
//
// Needs only the records (docs/results.md): no data, no weights. If a plugin is not linked, only what it would tell is
// missing: whether an arm masks filters or weights, and the number of classes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/analysis.h"
#include "experiments/reporting/run_records.h"
#include "experiments/search/search_outcome.h"

namespace prunelab {

struct ReportRecords {
  Ablation ablation;                           // from the first folder that has one
  std::string ablation_text;                   // the text of its file
  std::optional<Ablation> planned;             // as it was before the first run
  std::vector<std::string> folders;            // as given
  std::vector<ArmFacts> arms;                  // in the ablation's order, then those that only folders have
  std::map<std::string, std::string> configs;  // arm -> config.textproto of its first run that is used
  std::vector<RunRecords> runs;  // by arm, then seed; including missing ones that results.csv or the ablation name
  std::optional<SearchOutcome> search;  // of an ablation that has one
  // What a reader must know first: what is incomplete, left out, or mixed.
  std::vector<std::string> notes;
};

// Errors: a folder that cannot be read or that contains no ablation and no runs.
absl::StatusOr<ReportRecords> ReadResults(const std::vector<std::string>& folders);

}  // namespace prunelab
