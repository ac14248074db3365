// From the results of runs to verdicts: the outcome of an ablation's comparisons and contrasts, which were written down
// before the run. docs/statistics.md says what is computed and why.
//
//   const Analysis analysis = Analyse(ablation, results, arms, planned);
//   std::cout << VerdictTable(analysis);
//
// Everything is of the last epoch.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/records/records.h"
#include "experiments/reporting/comparison.h"
#include "ml/statistics/summary.h"

namespace prunelab {

struct ArmSummary {
  std::string name;
  int64_t done = 0, diverged = 0, failed = 0, missing = 0;
  // By name, those with a column in the tables, over the runs that are done; absent without any.
  std::map<std::string, SampleSummary> measures;
};

struct Analysis {
  std::vector<ArmSummary> arms;
  std::vector<ComparisonResult> comparisons;
};

// `arms` in the order of the tables, at least those of `results`. `planned`: the ablation as it was before the first
// run, or null if that is not known.
Analysis Analyse(const Ablation& ablation, const std::vector<RunResult>& results, const std::vector<ArmFacts>& arms,
                 const Ablation* planned);

}  // namespace prunelab
