#include "experiments/reporting/summary_latex.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "experiments/reporting/summary_rows.h"

namespace prunelab {
namespace {

std::string LatexText(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\\", "\\textbackslash{}"},
                                    {"&", "\\&"},
                                    {"%", "\\%"},
                                    {"$", "\\$"},
                                    {"#", "\\#"},
                                    {"_", "\\_"},
                                    {"{", "\\{"},
                                    {"}", "\\}"},
                                    {"~", "\\textasciitilde{}"},
                                    {"^", "\\textasciicircum{}"},
                                    {"+-", "$\\pm$"},
                                    {"|", "\\textbar{}"},
                                    {"<", "\\textless{}"},
                                    {">", "\\textgreater{}"},
                                    {"\n", " "}});
}

void AppendTable(const TextRows& rows, const std::string& caption, std::string* text) {
  // Made smaller if it is wider than the page.
  absl::StrAppend(text, "\\begin{table}\n\\centering\n\\caption{", LatexText(caption),
                  "}\n\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n\\begin{tabular}{l",
                  std::string(rows[0].size() - 1, 'r'), "}\n\\toprule\n");
  for (size_t r = 0; r < rows.size(); ++r) {
    std::vector<std::string> cells;
    for (const std::string& cell : rows[r]) cells.push_back(LatexText(cell));
    absl::StrAppend(text, absl::StrJoin(cells, " & "), " \\\\\n", r == 0 ? "\\midrule\n" : "");
  }
  *text += "\\bottomrule\n\\end{tabular}}\n\\end{table}\n";
}

// The names of the arms, and the measures from column `first` on.
TextRows Columns(const TextRows& arms, size_t names, size_t first, size_t count) {
  TextRows rows;
  for (const std::vector<std::string>& arm : arms) {
    const auto column = [&](size_t index) { return arm.begin() + static_cast<std::ptrdiff_t>(index); };
    rows.emplace_back(arm.begin(), column(names));
    rows.back().insert(rows.back().end(), column(first), column(std::min(arm.size(), first + count)));
  }
  return rows;
}

}  // namespace

std::string SummaryLatex(const Ablation& ablation, const Analysis& analysis, const std::vector<std::string>& notes) {
  std::string text = "% \\usepackage{booktabs,graphicx}\n";
  for (const std::string& note : notes) {
    absl::StrAppend(&text, "% ", absl::StrReplaceAll(note, {{"\n", " "}, {"\r", " "}}), "\n");
  }
  const std::string title = absl::StrCat("Ablation ", ablation.name());
  if (!analysis.comparisons.empty()) {
    AppendTable(ComparisonRows(analysis), absl::StrCat(title, ": comparisons. ", MethodText(analysis)), &text);
  }
  // All measures side by side would be too small to read.
  const TextRows arms = ArmRows(analysis);
  constexpr size_t kNames = 3, kMeasures = 5;  // the columns of a table: arm, n, diverged; then some of the measures
  for (size_t first = kNames; first < arms[0].size(); first += kMeasures) {
    AppendTable(Columns(arms, kNames, first, kMeasures),
                absl::StrCat(title, ": arms", first == kNames ? "" : ", continued",
                             ". Mean +- standard deviation over seeds, last epoch."),
                &text);
  }
  return text;
}

}  // namespace prunelab
