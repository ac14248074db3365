// Which groups of coupled channels matter, and which go (group_ranking.proto).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "ml/compression/channel_groups.h"
#include "ml/compression/group_ranking.pb.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// A set: groups with a part of the same layers.
struct GroupSet {
  std::vector<size_t> groups;  // indices, ascending
  // The kinds of its layers with their parts, e.g. "conv2d filters, conv2d readers": sets of the same kinds are alike
  // to scope ISOMORPHIC.
  std::string kinds;
};

// In the order of their first groups; each group is in one.
std::vector<GroupSet> SetsOf(const std::vector<ChannelGroup>& groups, const NetworkInfo& info);

// A field error of "importance": it is BATCH_NORM_SCALE, and a group has no batch norm.
absl::Status CheckImportance(GroupRanking::Importance importance, const std::vector<ChannelGroup>& groups);

// By group, before the ranking's normalize, in float64. `seed` is read by RANDOM alone. Errors: CheckImportance's.
absl::StatusOr<std::vector<double>> GroupImportances(const WeightedNetwork& network, const NetworkInfo& info,
                                                     const std::vector<ChannelGroup>& groups,
                                                     GroupRanking::Importance importance, uint64_t seed);

// The importances as `normalize` says. Of a set of zeros they stay zeros, and so do those of a set of equal ones under
// GAUSSIAN.
std::vector<double> NormalizedImportances(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                          GroupRanking::Normalize normalize);

// Which groups go at `rate`, in [0, 1): the least important of each scope, ties in order, as far as max_rate and round
// let them. Groups that must not go for these are not replaced by others.
std::vector<bool> GroupsThatGo(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                               const GroupRanking& ranking, double rate);

}  // namespace prunelab
