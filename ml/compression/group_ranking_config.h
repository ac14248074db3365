#pragma once

#include "absl/status/status.h"
#include "ml/compression/group_ranking.pb.h"

namespace prunelab {

// Field errors: max_rate outside [0, 1], round below 1.
absl::Status ValidateGroupRanking(const GroupRanking& ranking);

}  // namespace prunelab
