#include "experiments/reporting/report.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "experiments/config/output_files.h"
#include "experiments/records/records.h"
#include "experiments/reporting/analysis.h"
#include "experiments/reporting/comparisons_json.h"
#include "experiments/reporting/power_text.h"
#include "experiments/reporting/report_page.h"
#include "experiments/reporting/report_records.h"
#include "experiments/reporting/summary_latex.h"
#include "experiments/reporting/summary_markdown.h"
#include "experiments/reporting/summary_rows.h"
#include "ml/base/files.h"
#include "ml/base/status_macros.h"

namespace prunelab {

std::string PathForPeople(const std::string& path) {
  const char* typed = std::getenv("BUILD_WORKING_DIRECTORY");
  char current[4096];
  const std::string folder = typed != nullptr ? typed : getcwd(current, sizeof(current)) != nullptr ? current : "";
  if (!folder.empty() && absl::StartsWith(path, folder + "/")) return path.substr(folder.size() + 1);
  return path;
}

std::string PlannedPower(const Ablation& ablation, int64_t seeds, const std::string& output, double expected_sd) {
  std::vector<RunResult> runs;
  if (const absl::StatusOr<ReportRecords> records = ReadResults({output}); records.ok()) {
    for (const RunRecords& run : records->runs) runs.push_back(run.result);
  }
  return PowerText(ablation, seeds, runs, expected_sd);
}

absl::StatusOr<std::string> WriteReport(const std::vector<std::string>& results, const std::string& output) {
  PRUNELAB_ASSIGN_OR_RETURN(const ReportRecords records, ReadResults(results));
  std::vector<RunResult> runs;
  for (const RunRecords& run : records.runs) runs.push_back(run.result);
  const Analysis analysis =
      Analyse(records.ablation, runs, records.arms, records.planned ? &*records.planned : nullptr);
  PRUNELAB_RETURN_IF_ERROR(CreateFolders(output));
  const TextRows trials = records.search ? TrialRows(*records.search) : TextRows();
  for (const auto& [name, text] : {
           std::make_pair(kResultsFile, ResultsCsv(runs)),
           std::make_pair(kComparisonsFile, ComparisonsJson(analysis)),
           std::make_pair(kMarkdownFile, SummaryMarkdown(records.ablation, analysis, records.notes, trials)),
           std::make_pair(kLatexFile, SummaryLatex(records.ablation, analysis, records.notes)),
           std::make_pair(kReportFile, ReportPage(records, analysis, output)),
       }) {
    PRUNELAB_RETURN_IF_ERROR(WriteFileAtomically(JoinPath(output, name), text));
  }
  std::string text;
  for (const std::string& note : records.notes) absl::StrAppend(&text, note, "\n");
  const std::string verdicts = VerdictTable(analysis);
  if (!text.empty() && !verdicts.empty()) text += "\n";
  return text + verdicts;
}

}  // namespace prunelab
