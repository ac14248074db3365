// report.html: one file with its data, its script and plotly.js in it, which asks the network for nothing.
#pragma once

#include <string>

#include "experiments/reporting/analysis.h"
#include "experiments/reporting/report_records.h"

namespace prunelab {

// The page for `output`, the folder it will lie in (links to the records are relative to it). Curves are medians over
// an arm's seeds with the middle 80 % around, at most 200 points each, fewer where the page would grow beyond 6 MB.
// Text of configs is shown as text, whatever it holds.
std::string ReportPage(const ReportRecords& records, const Analysis& analysis, const std::string& output);

}  // namespace prunelab
