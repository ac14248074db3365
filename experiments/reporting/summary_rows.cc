#include "experiments/reporting/summary_rows.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/records/table.h"
#include "experiments/reporting/measure_text.h"

namespace prunelab {
namespace {

// "98.89 +- 0.56" in the measure's unit, "-" without a value; with the number of runs that have one where it is not n.
std::string Cell(const ArmSummary& arm, const Measure& measure) {
  const auto found = arm.measures.find(measure.name());
  if (found == arm.measures.end()) return "-";
  const SampleSummary& summary = found->second;
  std::string text = absl::StrFormat("%.*f", measure.options().digits(), summary.mean * measure.scale());
  if (summary.sd && *summary.sd > 0) {
    absl::StrAppend(&text, " +- ", absl::StrFormat("%.*f", measure.options().digits(), *summary.sd * measure.scale()));
  }
  if (summary.n != arm.done) absl::StrAppend(&text, " (n = ", summary.n, ")");
  return text;
}

// The measures that the summaries show: those in which any arm has a value.
MeasureList ShownMeasures(const Analysis& analysis) {
  MeasureList shown;
  for (const Measure& measure : AllMeasures()) {
    const bool any = std::any_of(analysis.arms.begin(), analysis.arms.end(),
                                 [&](const ArmSummary& arm) { return arm.measures.count(measure.name()) > 0; });
    if (any) shown.push_back(&measure);
  }
  return shown;
}

}  // namespace

std::string MethodText(const Analysis& analysis) {
  const auto any = [&](auto of) { return std::any_of(analysis.comparisons.begin(), analysis.comparisons.end(), of); };
  const bool drawn = any([](const ComparisonResult& c) { return c.judgement.p_standard_error > 0; });
  const bool primary = any([](const ComparisonResult& c) { return c.primary > 0; });
  return absl::StrCat(
      "Last epoch. Differences are paired by seed; p is the ", drawn ? "" : "exact ", "sign-flip test's",
      drawn ? " (by random signs where there are many seeds)" : "",
      primary ? "; primary comparisons in their order, then Holm over all others" : ", Holm over all comparisons",
      "; the interval is that test inverted at 1 - 0.05 / (Holm's divisor). g is Hedges' g. Arms: mean "
      "+- standard deviation over the seeds that did not diverge.");
}

TextRows ComparisonRows(const Analysis& analysis) {
  TextRows rows = {{"comparison", "metric", "pairs", "difference", "interval", "p", "p (Holm)", "g", "verdict"}};
  for (const ComparisonResult& comparison : analysis.comparisons) {
    const Measure& measure = MeasureOf(comparison.metric);
    const Judgement& judgement = comparison.judgement;
    rows.push_back({comparison.title, measure.options().label(), absl::StrCat(judgement.pairs),
                    judgement.difference ? DifferenceText(measure, *judgement.difference) : "-",
                    IntervalText(measure, judgement.interval),
                    judgement.pairs > 0 ? PValueText(judgement.p_sign_flip) : "-",
                    judgement.pairs > 0 ? PValueText(judgement.p_holm) : "-",
                    judgement.hedges_g ? absl::StrFormat("%.2f", *judgement.hedges_g) : "-", judgement.verdict});
  }
  return rows;
}

TextRows ArmRows(const Analysis& analysis) {
  const MeasureList measures = ShownMeasures(analysis);
  TextRows rows = {{"arm", "n", "diverged"}};
  for (const Measure* measure : measures) rows[0].push_back(measure->Heading());
  for (const ArmSummary& arm : analysis.arms) {
    rows.push_back({arm.name, absl::StrCat(arm.done), absl::StrCat(arm.diverged)});
    for (const Measure* measure : measures) rows.back().push_back(Cell(arm, *measure));
  }
  return rows;
}

std::string VerdictTable(const Analysis& analysis) {
  if (analysis.comparisons.empty()) return "";
  std::string text = Aligned(ComparisonRows(analysis));
  text += "\n";
  for (const ComparisonResult& comparison : analysis.comparisons) absl::StrAppend(&text, comparison.sentence, "\n");
  return text;
}

}  // namespace prunelab
