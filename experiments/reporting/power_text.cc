#include "experiments/reporting/power_text.h"

#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/records/table.h"
#include "experiments/reporting/judgement.h"
#include "experiments/reporting/measure_text.h"
#include "ml/base/check.h"
#include "ml/statistics/power.h"
#include "ml/statistics/sign_flip.h"
#include "ml/statistics/summary.h"

namespace prunelab {

std::string PowerText(const Ablation& ablation, int64_t seeds, const std::vector<RunResult>& results,
                      double expected_sd) {
  const std::vector<ComparisonResult> wanted = WantedComparisons(ablation);
  if (wanted.empty()) return "";
  const auto primary = static_cast<size_t>(
      std::count_if(wanted.begin(), wanted.end(), [](const ComparisonResult& c) { return c.primary > 0; }));
  const size_t others = wanted.size() - primary;
  const double m = static_cast<double>(std::max<size_t>(others, 1));
  const double smallest = std::min(1.0, m * SmallestSignFlipP(seeds));
  std::string text;
  if (primary > 0) {
    absl::StrAppend(&text, primary, primary == 1 ? " primary comparison is" : " primary comparisons are",
                    " tested first, in their order, each at 0.05. ");
  }
  absl::StrAppend(&text, "With ", SeedCount(seeds));
  if (others > 0) {
    absl::StrAppend(&text, " and Holm over ", others, primary > 0 ? " other" : "",
                    others == 1 ? " comparison" : " comparisons");
  }
  absl::StrAppend(&text, " the smallest ", others > 0 ? "adjusted " : "", "p that a comparison can reach is ",
                  PValueText(smallest), ".\n");
  const bool primary_can = primary > 0 && SmallestSignFlipP(seeds) <= kAlpha;
  if (others > 0 && smallest > kAlpha) {
    absl::StrAppend(&text, "That is above 0.05: no ", primary > 0 ? "other " : "",
                    "comparison can come out better or worse, whatever the runs show. ", SeedsToReach(kAlpha / m),
                    " seeds are the least that can.\n");
  }
  if (primary > 0 && !primary_can) {
    absl::StrAppend(&text, "No primary comparison can come out better or worse, whatever the runs show. ",
                    SeedsToReach(kAlpha), " seeds are the least that can.\n");
  }
  if (smallest > kAlpha && !primary_can) return text;
  std::vector<std::vector<std::string>> rows = {
      {"comparison", "metric", "detectable difference", "margin", "standard deviation of a difference"}};
  for (const ComparisonResult& comparison : wanted) {
    const Measure& measure = MeasureOf(comparison.metric);
    const SampleSummary summary = SummarizeSample(PairedDifferences(comparison, DoneValues(comparison, results)));
    std::optional<double> sd = summary.sd;
    std::string source;
    if (sd) {
      source = absl::StrCat(DistanceText(measure, *sd), " in ", summary.n, " pairs that are done");
    } else if (expected_sd > 0) {
      sd = expected_sd;
      source = absl::StrCat(DistanceText(measure, *sd), " by --expected_sd");
    }
    if (comparison.primary == 0 && smallest > kAlpha) continue;
    // The least favourable rank in Holm's order.
    const double alpha = comparison.primary > 0 ? kAlpha : kAlpha / m;
    const std::optional<double> in_deviations = DetectableDifference(seeds, 1, alpha, kPower);
    PRUNELAB_CHECK(in_deviations.has_value());
    rows.push_back(
        {comparison.title, measure.options().label(),
         sd ? DistanceText(measure, *in_deviations * *sd) : absl::StrFormat("%.2f standard deviations", *in_deviations),
         DistanceText(measure, comparison.margin), sd ? source : "unknown: give --expected_sd"});
  }
  absl::StrAppend(&text, "\n", Aligned(rows), "\nDetectable: found with probability 0.8 at 0.05",
                  others > 0 ? absl::StrCat(" / ", m, " (the first place in Holm's order)") : "",
                  others > 0 && primary > 0 ? ", primary ones at 0.05" : "", ".\n");
  return text;
}

}  // namespace prunelab
