// For a README or a pull request.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/analysis.h"

namespace prunelab {

// `notes` are what a reader must know first.
// `trials` are the rows of a search, the header first.
std::string SummaryMarkdown(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes,
                            const std::vector<std::vector<std::string>>& trials = {});

}  // namespace prunelab
