// For a README or a pull request.
#pragma once

#include <string>
#include <vector>

#include "experiments/config/ablation.pb.h"
#include "experiments/reporting/analysis.h"

namespace prunelab {

// `notes` are what a reader must know first.
std::string SummaryMarkdown(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes);

}  // namespace prunelab
