#include "experiments/reporting/comparisons_json.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "absl/strings/str_cat.h"
#include "experiments/records/measures.h"

namespace prunelab {
namespace {

using Json = nlohmann::ordered_json;

Json Number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json Number(const std::optional<double>& value) { return value ? Number(*value) : Json(nullptr); }

void AddInterval(Json& json, const std::string& name, const std::optional<Interval>& interval) {
  json[name + "_low"] = interval ? Number(interval->low) : Json(nullptr);
  json[name + "_high"] = interval ? Number(interval->high) : Json(nullptr);
}

void AddJudgement(Json& json, const Judgement& judgement, double margin) {
  json["n_treatment"] = judgement.n_treatment;
  json["n_control"] = judgement.n_control;
  json["n_pairs"] = judgement.pairs;
  json["mean_treatment"] = Number(judgement.mean_treatment);
  json["mean_control"] = Number(judgement.mean_control);
  json["difference"] = Number(judgement.difference);
  json["sd_difference"] = Number(judgement.sd);
  AddInterval(json, "ci", judgement.interval);
  AddInterval(json, "ci95", judgement.interval_95);
  AddInterval(json, "student95", judgement.student_95);
  AddInterval(json, "bootstrap95", judgement.bootstrap_95);
  json["p_sign_flip"] = judgement.pairs > 0 ? Json(judgement.p_sign_flip) : Json(nullptr);
  json["p_sign_flip_error"] = judgement.p_standard_error;
  json["p_holm"] = judgement.pairs > 0 ? Json(judgement.p_holm) : Json(nullptr);
  json["holm_divisor"] = judgement.holm_divisor;
  json["p_paired_t"] = Number(judgement.p_paired_t);
  json["p_welch"] = Number(judgement.p_welch);
  json["hedges_g"] = Number(judgement.hedges_g);
  json["margin"] = margin;
  json["p_equivalence"] = Number(judgement.p_equivalence);
  if (judgement.p_equivalence) json["p_equivalence_holm"] = Number(judgement.p_equivalence_holm);
  json["verdict"] = judgement.verdict;
}

}  // namespace

std::string ComparisonsJson(const Analysis& analysis) {
  Json array = Json::array();
  for (const ComparisonResult& comparison : analysis.comparisons) {
    Json json;
    if (comparison.is_contrast) {
      json["name"] = comparison.title;
      Json weights = Json::object();
      for (const auto& [arm, weight] : comparison.terms) weights[arm] = weight;
      json["contrast"] = weights;
    } else {
      json["treatment"] = comparison.terms[0].first;
      json["control"] = comparison.terms[1].first;
    }
    json["metric"] = MeasureOf(comparison.metric).name();
    AddJudgement(json, comparison.judgement, comparison.margin);
    json["sentence"] = comparison.sentence;
    json["seeds_to_decide"] = comparison.seeds_to_decide ? Json(*comparison.seeds_to_decide) : Json(nullptr);
    if (comparison.claim) json["claim"] = *comparison.claim;
    if (comparison.primary > 0) json["primary"] = comparison.primary;
    if (!comparison.judgement.closed_by.empty()) json["closed_by"] = comparison.judgement.closed_by;
    for (const Manipulation& manipulation : comparison.manipulations) {
      Json check;
      check["metric"] = MeasureOf(manipulation.metric).name();
      check["treatment"] = manipulation.treatment;
      check["control"] = manipulation.control;
      check["n_pairs"] = manipulation.pairs;
      check["ratio"] = Number(manipulation.ratio);
      if (manipulation.at_most) check["at_most"] = *manipulation.at_most;
      if (manipulation.at_least) check["at_least"] = *manipulation.at_least;
      check["held"] = manipulation.Held();
      json["manipulations"].push_back(check);
    }
    json["diverged"] = comparison.diverged;
    json["added_after_first_run"] = comparison.added_later;
    if (!comparison.obstacle.empty()) json["obstacle"] = comparison.obstacle;
    if (comparison.without_diverged) {
      AddJudgement(json["without_diverged"], *comparison.without_diverged, comparison.margin);
    }
    array.push_back(json);
  }
  return absl::StrCat(array.dump(2, ' ', false, Json::error_handler_t::replace), "\n");
}

}  // namespace prunelab
