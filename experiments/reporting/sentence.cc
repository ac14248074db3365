#include "experiments/reporting/sentence.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "experiments/reporting/judgement.h"
#include "experiments/reporting/measure_text.h"
#include "ml/statistics/power.h"
#include "ml/statistics/sign_flip.h"

namespace prunelab {
namespace {

std::string LevelText(int64_t divisor) {
  return absl::StrCat(absl::StrFormat("%.4g", 100 * (1 - kAlpha / static_cast<double>(divisor))), " % interval");
}

std::string Subject(const ComparisonResult& comparison) {
  if (comparison.is_contrast) return absl::StrCat("The contrast \"", comparison.title, "\"");
  return comparison.terms[0].first;
}

const std::string& Control(const ComparisonResult& comparison) { return comparison.terms.back().first; }

const Measure& MeasureIn(const ComparisonResult& comparison) { return MeasureOf(comparison.metric); }

const std::string& Label(const ComparisonResult& comparison) { return MeasureIn(comparison).options().label(); }

std::string Numbers(const ComparisonResult& comparison) {
  const Measure& measure = MeasureIn(comparison);
  const Judgement& judgement = comparison.judgement;
  return absl::StrCat(DifferenceText(measure, *judgement.difference), " (", LevelText(judgement.holm_divisor), " ",
                      IntervalText(measure, judgement.interval), "; p = ", PValueText(judgement.p_holm),
                      comparison.primary > 0 ? ", primary; " : " after Holm; ", SeedCount(judgement.pairs), ")");
}

std::string Margin(const ComparisonResult& comparison) {
  return absl::StrCat("the margin of ", DistanceText(MeasureIn(comparison), comparison.margin));
}

std::string Equivalent(const ComparisonResult& comparison) {
  const std::string what =
      comparison.is_contrast
          ? absl::StrCat(Subject(comparison), " of ", Label(comparison), " is equivalent to 0 within ")
          : absl::StrCat(Subject(comparison), " is equivalent to ", Control(comparison), " in ", Label(comparison),
                         " within ");
  return absl::StrCat(what, Margin(comparison), " (TOST p = ", PValueText(comparison.judgement.p_equivalence_holm),
                      comparison.primary > 0 ? "): " : " after Holm): ", Numbers(comparison), ".");
}

std::string BetterOrWorse(const ComparisonResult& comparison) {
  const Judgement& judgement = comparison.judgement;
  const std::string verdict = judgement.verdict.substr(0, judgement.verdict.find(' '));
  const bool less = absl::StrContains(judgement.verdict, "by less");
  const std::string beside = less ? absl::StrCat(", by less than ", Margin(comparison)) : "";
  if (!comparison.is_contrast) {
    return absl::StrCat(Subject(comparison), " is ", verdict, " than ", Control(comparison), " in ", Label(comparison),
                        beside, ": ", Numbers(comparison), ".");
  }
  return absl::StrCat(Subject(comparison), " of ", Label(comparison), " is ",
                      *judgement.difference > 0 ? "above" : "below", " 0: ", verdict, beside, ": ", Numbers(comparison),
                      ".");
}

// With the obstacles to a conclusion, and the seeds that would decide.
std::string NoConclusion(const ComparisonResult& comparison) {
  const Judgement& judgement = comparison.judgement;
  std::string text =
      absl::StrCat("No conclusion on ", comparison.title, " in ", Label(comparison), ": ", Numbers(comparison), ".");
  const double alpha = kAlpha / static_cast<double>(judgement.planning_divisor);
  if (!judgement.closed_by.empty()) {
    absl::StrAppend(&text, " It was not tested: ", judgement.closed_by,
                    ", which comes before it, showed no difference.");
  } else if (!comparison.obstacle.empty()) {
    absl::StrAppend(&text, " No number of seeds would decide: ", comparison.obstacle, ".");
  } else if (SmallestSignFlipP(judgement.pairs) > alpha) {
    absl::StrAppend(&text, " ", SeedCount(judgement.pairs), " cannot decide whatever they show; ", SeedsToReach(alpha),
                    " is the least that can.");
  }
  if (comparison.seeds_to_decide) {
    absl::StrAppend(&text, " ", SeedCount(*comparison.seeds_to_decide), " would find a difference of ",
                    DistanceText(MeasureIn(comparison), *comparison.claim), " with probability 0.8, at this spread.");
  }
  return text;
}

// "mean |rho| of a is 0.99 times that of b over 10 seeds; at most 0.5 was asked"
std::string ManipulationText(const Manipulation& manipulation) {
  std::string text = absl::StrCat(MeasureOf(manipulation.metric).options().label(), " of ", manipulation.treatment);
  if (manipulation.ratio) {
    absl::StrAppend(&text, " is ", absl::StrFormat("%.3g", *manipulation.ratio), " times that of ",
                    manipulation.control, " over ", SeedCount(manipulation.pairs));
  } else {
    absl::StrAppend(&text, " and ", manipulation.control, " is not known");
  }
  if (manipulation.at_most) absl::StrAppend(&text, "; at most ", absl::StrFormat("%.3g", *manipulation.at_most));
  if (manipulation.at_least) absl::StrAppend(&text, "; at least ", absl::StrFormat("%.3g", *manipulation.at_least));
  return text + " was asked";
}

std::string CouldNotBeTested(const ComparisonResult& comparison) {
  std::string text = absl::StrCat(comparison.title, " in ", Label(comparison),
                                  " could not be tested: ", Numbers(comparison), ", but ");
  bool first = true;
  for (const Manipulation& manipulation : comparison.manipulations) {
    if (manipulation.Held()) continue;
    absl::StrAppend(&text, first ? "" : ", and ", ManipulationText(manipulation));
    first = false;
  }
  return text + ".";
}

std::string Diverged(const ComparisonResult& comparison) {
  const bool has_chance = MeasureIn(comparison).options().chance() != MeasureOptions::NO_CHANCE;
  const char* as = !has_chance                    ? "what it measured"
                   : comparison.lost_below_chance ? "the worst of its runs that finished, which is worse than chance"
                                                  : "chance";
  const int64_t without = comparison.diverged_without_value;
  std::string text =
      absl::StrCat(" ", comparison.diverged, comparison.diverged == 1 ? " run" : " runs", " of its arms diverged and ");
  if (without < comparison.diverged) absl::StrAppend(&text, comparison.diverged == 1 ? "counts" : "count", " as ", as);
  if (without > 0) {
    absl::StrAppend(
        &text, without == comparison.diverged ? "" : absl::StrCat(", but ", without, " of them "),
        "could not be counted, because ",
        has_chance ? "the number of classes, which gives chance, is not known here" : "nothing finite was measured");
  }
  if (comparison.without_diverged) {
    const Judgement& second = *comparison.without_diverged;
    absl::StrAppend(&text, "; without: ", second.verdict);
    if (second.difference) {
      absl::StrAppend(&text, ", ", DifferenceText(MeasureIn(comparison), *second.difference),
                      ", p = ", PValueText(second.p_holm));
    }
  }
  return text + ".";
}

std::string Conclusion(const ComparisonResult& comparison) {
  const Judgement& judgement = comparison.judgement;
  if (judgement.pairs == 0) {
    return absl::StrCat("No conclusion on ", comparison.title, " in ", Label(comparison),
                        ": no seed has a value in every arm of it.");
  }
  if (judgement.verdict == "equivalent") return Equivalent(comparison);
  if (judgement.verdict == "could not be tested") return CouldNotBeTested(comparison);
  return judgement.verdict == "no conclusion" ? NoConclusion(comparison) : BetterOrWorse(comparison);
}

}  // namespace

std::string VerdictSentence(const ComparisonResult& comparison) {
  std::string text = Conclusion(comparison);
  if (comparison.diverged > 0) text += Diverged(comparison);
  if (comparison.added_later) text += " Written down after the first run.";
  return text;
}

}  // namespace prunelab
