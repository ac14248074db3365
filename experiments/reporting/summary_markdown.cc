#include "experiments/reporting/summary_markdown.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "experiments/reporting/summary_rows.h"

namespace prunelab {
namespace {

std::string MarkdownText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"},
                                    {"|", "\\|"},
                                    {"*", "\\*"},
                                    {"_", "\\_"},
                                    {"`", "\\`"},
                                    {"<", "&lt;"},
                                    {">", "&gt;"},
                                    {"[", "\\["},
                                    {"\n", " "}});
}

void AppendTable(const TextRows& rows, std::string* text) {
  for (size_t r = 0; r < rows.size(); ++r) {
    *text += "|";
    for (const std::string& cell : rows[r]) absl::StrAppend(text, " ", MarkdownText(cell), " |");
    *text += "\n";
    if (r > 0) continue;
    for (size_t c = 0; c < rows[r].size(); ++c) *text += c == 0 ? "|---|" : "---:|";
    *text += "\n";
  }
  *text += "\n";
}

}  // namespace

std::string SummaryMarkdown(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes,
                            const TextRows& trials) {
  std::string text = absl::StrCat("# ", MarkdownText(ablation.name()), "\n\n");
  if (!ablation.description().empty()) absl::StrAppend(&text, MarkdownText(ablation.description()), "\n\n");
  for (const std::string& note : notes) absl::StrAppend(&text, "> ", MarkdownText(note), "\n");
  if (!notes.empty()) text += "\n";
  if (!trials.empty()) {
    text += "Validation top-1 in %, where trials were compared:\n\n";
    AppendTable(trials, &text);
  }
  if (!analysis.comparisons.empty()) {
    for (const ComparisonResult& comparison : analysis.comparisons) {
      absl::StrAppend(&text, "- ", MarkdownText(comparison.sentence), "\n");
    }
    text += "\n";
    AppendTable(ComparisonRows(analysis), &text);
  }
  AppendTable(ArmRows(analysis), &text);
  absl::StrAppend(&text, MethodText(analysis), "\n");
  return text;
}

}  // namespace prunelab
