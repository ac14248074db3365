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

}  // namespace

std::vector<ComparisonResult> WantedComparisons(const Ablation& ablation) {
  std::vector<ComparisonResult> wanted;
  for (const Comparison& comparison : ablation.comparison()) {
    ComparisonResult& result = wanted.emplace_back();
    result.title = absl::StrCat(comparison.treatment(), " vs. ", comparison.control());
    result.terms = {{comparison.treatment(), 1.0}, {comparison.control(), -1.0}};
    result.metric = comparison.metric();
    result.margin = comparison.margin();
  }
  for (const Contrast& contrast : ablation.contrast()) {
    if (contrast.term().empty()) continue;
    ComparisonResult& result = wanted.emplace_back();
    result.title = contrast.name();
    result.is_contrast = true;
    for (const Contrast::Term& term : contrast.term()) result.terms.emplace_back(term.arm(), term.weight());
    result.metric = contrast.metric();
    result.margin = contrast.margin();
  }
  return wanted;
}

bool WasPlanned(const ComparisonResult& comparison, const Ablation& planned) {
  for (const Comparison& other : planned.comparison()) {
    if (!comparison.is_contrast && other.treatment() == comparison.terms[0].first &&
        other.control() == comparison.terms[1].first && other.metric() == comparison.metric &&
        other.margin() == comparison.margin) {
      return true;
    }
  }
  for (const Contrast& other : planned.contrast()) {
    if (!comparison.is_contrast || other.metric() != comparison.metric || other.margin() != comparison.margin) continue;
    std::map<std::string, double> terms;
    for (const Contrast::Term& term : other.term()) terms[term.arm()] = term.weight();
    if (terms == std::map<std::string, double>(comparison.terms.begin(), comparison.terms.end())) return true;
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
