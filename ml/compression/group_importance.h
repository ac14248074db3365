// Which groups of coupled channels matter, and which go (group_ranking.proto).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/compression/group_ranking.pb.h"
#include "ml/compression/weighted_network.h"
#include "ml/network/channel_groups.h"

namespace prunelab {

// The indices of the set's groups, the least important first, ties in order.
std::vector<size_t> ByImportance(const GroupSet& set, const std::vector<double>& importances);

// A field error of "importance": it is BATCH_NORM_SCALE, and a group has no batch norm.
absl::Status CheckImportance(GroupRanking::Importance importance, const std::vector<ChannelGroup>& groups);

// Means over images of what the loss of each says (group_losses.h), in float64.
struct ImageGradients {
  std::map<std::string, at::Tensor> mean_squares;  // by parameter, in its shape: of the gradient's square
  std::vector<double> gates;  // by group: of the square of the gradient for a gate on all that reads its channels
};

// By group, before the ranking's normalize, in float64. `seed` is read by RANDOM alone, `gradients` by HESSIAN and
// FISHER alone. Errors: CheckImportance's.
absl::StatusOr<std::vector<double>> GroupImportances(const WeightedNetwork& network, const NetworkInfo& info,
                                                     const std::vector<ChannelGroup>& groups,
                                                     GroupRanking::Importance importance, uint64_t seed,
                                                     const ImageGradients* gradients = nullptr);

// Losses of the network without the `gone` least important groups of one set.
struct SetLosses {
  std::vector<int64_t> gone;  // ascending; the first is 0, the last the number of groups - 1
  std::vector<double> losses;
};

// For LOSS: by group what the loss rises by when it goes with those of its set that are less important, on a line
// between the counts that were measured; where the curve falls, its highest value before. What would be equal rises a
// little, so that a set keeps its order. The last group of a set, without which nothing was measured, comes after all
// others.
std::vector<double> ImportancesByLoss(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                      const std::vector<SetLosses>& losses);

// By group: what the network saves if it goes first. Not for NOTHING.
std::vector<double> GroupCosts(const NetworkInfo& info, const std::vector<ChannelGroup>& groups,
                               GroupRanking::Cost cost);

// The importances as `normalize` says, which is not LOSS. Of a set of zeros they stay zeros, and so do those of a set
// of equal ones under GAUSSIAN.
std::vector<double> NormalizedImportances(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                          GroupRanking::Normalize normalize);

// Which groups go at `rate`, in [0, 1): the least important of each scope, ties in order, as far as max_rate and round
// let them. Groups that must not go for these are not replaced by others.
std::vector<bool> GroupsThatGo(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                               const GroupRanking& ranking, double rate);

}  // namespace prunelab
