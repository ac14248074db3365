// report.html: one file that contains its data, its script and plotly.js, and needs no network.
#pragma once

#include <string>

#include "experiments/reporting/analysis.h"
#include "experiments/reporting/report_records.h"

namespace prunelab {

// The page for `output`, the folder that it will be in (links to the records are relative to it). Curves are medians
// over an arm's seeds with the middle 80 %, at most 200 points each, fewer if the page would grow beyond 6 MB. Text of
// configs is shown as text, whatever it contains.
std::string ReportPage(const ReportRecords& records, const Analysis& analysis, const std::string& output);

}  // namespace prunelab
