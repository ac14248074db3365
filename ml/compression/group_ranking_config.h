#pragma once

#include "absl/status/status.h"
#include "ml/compression/group_ranking.pb.h"

namespace prunelab {

// Field errors: max_rate outside [0, 1]; round, images or points below 1; fields that would have no effect, or none
// that makes sense together with another.
absl::Status ValidateGroupRanking(const GroupRanking& ranking);

// Whether the importance is one by the gradients of single images' losses.
bool IsByGradients(GroupRanking::Importance importance);

// Whether training images decide which groups go.
bool LooksAtImages(const GroupRanking& ranking);

}  // namespace prunelab
