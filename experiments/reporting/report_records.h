// Results folders read back for the report: runs with their curves, where they came from, and everything in them that
// is incomplete, damaged, changed by hand or does not fit together, which is said and left out.
//
//   PRUNELAB_ASSIGN_OR_RETURN(const ReportRecords records, ReadResults({"runs/digits"}));
//   for (const std::string& note : records.notes) ...  // "none/cov seed 3 is left out: ..."
//
// Works from the records alone (docs/results.md): no data, no weights. Plugins that are not linked cost only what they
// would tell: whether an arm masks filters or weights, and the number of classes.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/analysis.h"
#include "experiments/reporting/run_records.h"

namespace prunelab {

struct ReportRecords {
  Ablation ablation;                           // of the first folder that has one
  std::string ablation_text;                   // its file as it stands
  std::optional<Ablation> planned;             // as it was before the first run
  std::vector<std::string> folders;            // as given
  std::vector<ArmFacts> arms;                  // in the ablation's order, then those that only folders know
  std::map<std::string, std::string> configs;  // arm -> config.textproto of its first run that is used
  std::vector<RunRecords> runs;  // by arm, then seed; those missing that results.csv or the ablation tell of included
  // What a reader must know first: what is incomplete, left out, or mixed.
  std::vector<std::string> notes;
};

// Errors: a folder that cannot be read or holds no ablation and no runs.
absl::StatusOr<ReportRecords> ReadResults(const std::vector<std::string>& folders);

}  // namespace prunelab
