#include "ml/compression/group_ranking_config.h"

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"

namespace prunelab {

absl::Status ValidateGroupRanking(const GroupRanking& ranking) {
  if (!(ranking.max_rate() >= 0 && ranking.max_rate() <= 1)) {
    return FieldError("max_rate", absl::StrCat("is ", ranking.max_rate(), "; must be in [0, 1]"));
  }
  if (ranking.round() < 1) return FieldError("round", absl::StrCat("is ", ranking.round(), "; must be at least 1"));
  return absl::OkStatus();
}

}  // namespace prunelab
