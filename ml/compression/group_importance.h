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

// What a network costs, by how much of each set stays. A convolution's multiply-accumulates and weights are
// proportional to its outputs times its inputs, all else to its channels.
class SetCosts {
 public:
  // Not for NOTHING.
  SetCosts(const NetworkInfo& info, const ChannelGroups& grouping, const std::vector<GroupSet>& sets,
           GroupRanking::Cost cost);

  // The network's cost if `kept[s]` groups of set s stay.
  double Of(const std::vector<int64_t>& kept) const;
  // What is saved if one group of the set goes, too.
  double SavedBy(size_t set, const std::vector<int64_t>& kept) const;

 private:
  // A node's cost: numbers for each pair of an output and an input, and for each output.
  struct Term {
    double per_pair = 0, per_output = 0;
    double outputs = 0, inputs = 0;                  // that are in no set, and stay
    std::map<size_t, double> of_outputs, of_inputs;  // by set: of each of its groups
  };
  double Of(const Term& term, const std::vector<int64_t>& kept) const;

  std::vector<Term> terms_;
  std::vector<std::vector<size_t>> terms_of_;  // by set: those that depend on it
};

// For LOSS with divided_by: the place of each group in the order in which they go one by one, each time the one next in
// its set for which the loss rises least for what is saved. The losses of a set are the highest convex curve below
// those measured (and below their running maximum). The last group of each set comes after all others.
std::vector<double> OrderByLossPerCost(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                       const std::vector<SetLosses>& losses, const SetCosts& costs);

// The importances as `normalize` says, which is not LOSS. Of a set of zeros they stay zeros, and so do those of a set
// of equal ones under GAUSSIAN.
std::vector<double> NormalizedImportances(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                                          GroupRanking::Normalize normalize);

// Which groups go at `rate`, in [0, 1): the least important of each scope, ties in order, as far as max_rate and round
// let them. Groups that must not go for these are not replaced by others.
std::vector<bool> GroupsThatGo(const std::vector<double>& importances, const std::vector<GroupSet>& sets,
                               const GroupRanking& ranking, double rate);

}  // namespace prunelab
