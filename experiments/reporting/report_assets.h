// The parts of report.html that are separate files: report_page.html (with @NAME@ where something is inserted),
// report_page.css, report_page.js.
#pragma once

#include "absl/strings/string_view.h"

namespace prunelab {

absl::string_view ReportTemplate();
absl::string_view ReportStyle();
absl::string_view ReportScript();

}  // namespace prunelab
