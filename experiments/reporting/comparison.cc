#include "experiments/reporting/comparison.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>

#include "absl/strings/str_cat.h"

namespace prunelab {
namespace {

// What an arm masks, in words.
const char* MaskWords(MaskKind kind) {
  switch (kind) {
    case MaskKind::kFilters:
      return "filters";
    case MaskKind::kWeights:
      return "single weights";
    default:
      return "filters and single weights";
  }
}

// What a comparison and a contrast say alike.
template <typename Wanted>
void SetPlan(const Wanted& wanted, ComparisonResult& result) {
  result.primary = wanted.primary();
  if (wanted.has_claim()) {
    result.claim = wanted.claim();
  } else if (wanted.margin() > 0) {
    result.claim = wanted.margin();
  }
  for (const ManipulationCheck& check : wanted.manipulation()) {
    Manipulation& manipulation = result.manipulations.emplace_back();
    manipulation.metric = check.metric();
    manipulation.treatment = check.has_treatment() || result.is_contrast ? check.treatment() : result.terms[0].first;
    manipulation.control = check.has_control() || result.is_contrast ? check.control() : result.terms[1].first;
    if (check.has_at_most()) manipulation.at_most = check.at_most();
    if (check.has_at_least()) manipulation.at_least = check.at_least();
  }
}

// Whether what decides about a verdict is the same.
template <typename Wanted>
bool IsSamePlan(const ComparisonResult& comparison, const Wanted& planned) {
  ComparisonResult other;
  other.is_contrast = comparison.is_contrast;
  other.terms = comparison.terms;
  SetPlan(planned, other);
  const auto same = [](const Manipulation& a, const Manipulation& b) {
    return a.metric == b.metric && a.treatment == b.treatment && a.control == b.control && a.at_most == b.at_most &&
           a.at_least == b.at_least;
  };
  return comparison.primary == other.primary &&
         std::equal(comparison.manipulations.begin(), comparison.manipulations.end(), other.manipulations.begin(),
                    other.manipulations.end(), same);
}

}  // namespace

std::vector<ComparisonResult> WantedComparisons(const Ablation& ablation) {
  std::vector<ComparisonResult> wanted;
  for (const Comparison& comparison : ablation.comparison()) {
    ComparisonResult& result = wanted.emplace_back();
    result.title = absl::StrCat(comparison.treatment(), " vs. ", comparison.control());
    result.terms = {{comparison.treatment(), 1.0}, {comparison.control(), -1.0}};
    result.metric = comparison.metric();
    result.margin = comparison.margin();
    SetPlan(comparison, result);
  }
  for (const Contrast& contrast : ablation.contrast()) {
    if (contrast.term().empty()) continue;
    ComparisonResult& result = wanted.emplace_back();
    result.title = contrast.name();
    result.is_contrast = true;
    for (const Contrast::Term& term : contrast.term()) result.terms.emplace_back(term.arm(), term.weight());
    result.metric = contrast.metric();
    result.margin = contrast.margin();
    SetPlan(contrast, result);
  }
  return wanted;
}

bool WasPlanned(const ComparisonResult& comparison, const Ablation& planned) {
  for (const Comparison& other : planned.comparison()) {
    if (!comparison.is_contrast && other.treatment() == comparison.terms[0].first &&
        other.control() == comparison.terms[1].first && other.metric() == comparison.metric &&
        other.margin() == comparison.margin && IsSamePlan(comparison, other)) {
      return true;
    }
  }
  for (const Contrast& other : planned.contrast()) {
    if (!comparison.is_contrast || other.metric() != comparison.metric || other.margin() != comparison.margin) continue;
    std::map<std::string, double> terms;
    for (const Contrast::Term& term : other.term()) terms[term.arm()] = term.weight();
    const bool same_terms = terms == std::map<std::string, double>(comparison.terms.begin(), comparison.terms.end());
    if (same_terms && IsSamePlan(comparison, other)) return true;
  }
  return false;
}

std::string Obstacle(const ComparisonResult& comparison, const std::vector<ArmFacts>& arms) {
  std::map<MaskKind, double> kinds;  // of those that mask anything, with the sum of their arms' weights
  double size = 0;
  for (const auto& [arm, weight] : comparison.terms) {
    const auto facts =
        std::find_if(arms.begin(), arms.end(), [&, name = arm](const ArmFacts& a) { return a.name == name; });
    if (facts == arms.end()) continue;
    size += std::abs(weight);
    if (facts->masks != MaskKind::kUnknown && facts->masks != MaskKind::kNone) kinds[facts->masks] += weight;
  }
  if (kinds.size() < 2) return "";
  // Differences within one measure may be compared with each other.
  const bool balanced =
      std::all_of(kinds.begin(), kinds.end(), [&](const auto& kind) { return std::abs(kind.second) <= 1e-9 * size; });
  if (balanced) return "";
  return absl::StrCat("one side masks ", MaskWords(kinds.begin()->first), ", the other ",
                      MaskWords(std::next(kinds.begin())->first),
                      ", and the same percentage of them is not the same thing");
}

}  // namespace prunelab
