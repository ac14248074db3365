#include "ml/compression/group_ranking_config.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"

namespace prunelab {

absl::Status ValidateGroupRanking(const GroupRanking& ranking) {
  if (!(ranking.max_rate() >= 0 && ranking.max_rate() <= 1)) {
    return FieldError("max_rate", absl::StrCat("is ", ranking.max_rate(), "; must be in [0, 1]"));
  }
  if (ranking.round() < 1) return FieldError("round", absl::StrCat("is ", ranking.round(), "; must be at least 1"));
  for (const auto& [field, value] : {std::pair("images", ranking.images()), {"points", ranking.points()}}) {
    if (value < 1) return FieldError(field, absl::StrCat("is ", value, "; must be at least 1"));
  }
  if (ranking.has_images() && !LooksAtImages(ranking)) {
    return FieldError("images",
                      "is set, but no image is looked at: that do the importances HESSIAN and FISHER, and "
                      "normalize: LOSS");
  }
  if (ranking.has_points() && ranking.normalize() != GroupRanking::LOSS) {
    return FieldError("points", "is set, but no loss is measured: that does normalize: LOSS");
  }
  if (ranking.scope() == GroupRanking::PER_SET &&
      (ranking.divided_by() != GroupRanking::NOTHING || ranking.normalize() == GroupRanking::LOSS)) {
    return FieldError(ranking.normalize() == GroupRanking::LOSS ? "normalize" : "divided_by",
                      "has no effect with scope: PER_SET, where each set loses the same share; choose another scope");
  }
  if (ranking.divided_by() != GroupRanking::NOTHING && ranking.normalize() == GroupRanking::GAUSSIAN) {
    return FieldError("divided_by", absl::StrCat("is ", GroupRanking::Cost_Name(ranking.divided_by()),
                                                 ", which does not go with "
                                                 "normalize: ",
                                                 GroupRanking::Normalize_Name(ranking.normalize())));
  }
  return absl::OkStatus();
}

bool IsByGradients(GroupRanking::Importance importance) {
  return importance == GroupRanking::HESSIAN || importance == GroupRanking::FISHER;
}

bool LooksAtImages(const GroupRanking& ranking) {
  return IsByGradients(ranking.importance()) || ranking.normalize() == GroupRanking::LOSS;
}

}  // namespace prunelab
