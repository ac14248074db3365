// plotly.js 4.1.1 (plotly.min.js; Plotly, Inc., MIT license, its notice within) as the Python package plotly 7.1.0
// ships it.
#pragma once

#include "absl/strings/string_view.h"

namespace prunelab {

absl::string_view PlotlyScript();

}  // namespace prunelab
