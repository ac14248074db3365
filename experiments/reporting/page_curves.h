// What the report's page draws over the epochs, as JSON texts for its script.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "experiments/reporting/report_records.h"

namespace prunelab {

// Each measure with a curve (MeasureOptions::curve): its median over an arm's finished seeds with the middle 80 %, at
// most `points` epochs of it.
//   [{"arm": 0, "n": 3, "test_top1": {"x": [epochs], "m": [medians], "l": [10 %], "h": [90 %]}, ...}, ...]
// "l" and "h" are left out if they are the same.
std::string Curves(const ReportRecords& records, int64_t points);

// Live filters by layer and epoch, means over those of an arm's finished seeds whose layers are the first one's. "max"
// is how many filters the layer has, as its network says; where that is not known, the most that any of the arm's runs
// had live.
//   [{"arm": 0, "x": [epochs], "layers": [...], "max": [...], "z": [[by epoch] by layer]}, ...]
std::string LiveFilters(const ReportRecords& records, int64_t points);

// A JSON text that is safe inside a <script>: without "<", so that no tag begins or ends there.
std::string ForScript(absl::string_view json);

}  // namespace prunelab
