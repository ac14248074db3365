#include "experiments/records/table.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/records/measures.h"

namespace prunelab {
namespace {

const MeasureList& Columns() {
  static const auto* columns = new MeasureList(
      MeasuresInOrder([](const MeasureOptions& options) { return options.has_terminal(); },
                      [](const MeasureOptions& options) { return std::optional<int>(options.terminal().place()); }));
  return *columns;
}

std::string Cell(const std::vector<const RunResult*>& runs, const Measure& measure) {
  std::vector<double> values;
  for (const RunResult* run : runs) {
    if (const auto value = measure.Value(run->measures)) values.push_back(*value * measure.scale());
  }
  if (values.empty()) return "-";
  const int digits = measure.options().digits();
  const MeanAndDeviation summary = Summary(values);
  std::string text = absl::StrFormat("%.*f", digits, summary.mean);
  if (summary.deviation) absl::StrAppend(&text, absl::StrFormat(" +- %.*f", digits, *summary.deviation));
  if (values.size() != runs.size()) absl::StrAppend(&text, " (n = ", values.size(), ")");
  return text;
}

}  // namespace

MeanAndDeviation Summary(const std::vector<double>& values) {
  MeanAndDeviation summary;
  for (const double value : values) summary.mean += value / static_cast<double>(values.size());
  if (values.size() < 2) return summary;
  double squares = 0;
  for (const double value : values) squares += (value - summary.mean) * (value - summary.mean);
  summary.deviation = std::sqrt(squares / static_cast<double>(values.size() - 1));
  return summary;
}

std::string Aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string space(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&text, i == 0 ? "" : "  ", i == 0 ? row[i] + space : space + row[i]);
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    text += '\n';
  }
  return text;
}

std::string ResultsTable(const std::vector<std::string>& arms, const std::vector<RunResult>& results) {
  std::vector<std::vector<std::string>> rows = {{"arm", "n", "diverged"}};
  for (const Measure* measure : Columns()) rows[0].push_back(measure->options().terminal().heading());
  for (const std::string& arm : arms) {
    std::vector<const RunResult*> done;
    int64_t diverged = 0;
    for (const RunResult& result : results) {
      if (result.arm != arm) continue;
      if (result.status == "done") done.push_back(&result);
      if (result.status == "diverged") ++diverged;
    }
    rows.push_back({arm, absl::StrCat(done.size()), absl::StrCat(diverged)});
    for (const Measure* measure : Columns()) rows.back().push_back(Cell(done, *measure));
  }
  return Aligned(rows);
}

}  // namespace prunelab
