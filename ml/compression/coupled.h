// Coupled removal: channels that the network's structure ties together go together, as dependency-graph tools do (Fang
// et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023). Unlike exact removal it also makes residual streams
// narrower, and it changes the function: fine-tune after it. What dead filters contribute as constants (by a bias, BN,
// or a function that is not zero at zero, such as a sigmoid) is dropped with them.
//
// The groups are those of channel_groups.h.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/group_importance.h"
#include "ml/compression/group_ranking.pb.h"
#include "ml/compression/weighted_network.h"
#include "ml/network/channel_groups.h"
#include "ml/network/network_probe.h"

namespace prunelab {

struct CoupledOptions {
  // No value: a group is removed if all its filters are dead (all weights zero). Otherwise this share of the groups is
  // removed, in [0, 1), of least importance as `ranking` says. Ties are removed in order.
  std::optional<double> rate;
  GroupRanking ranking = {};
  uint64_t seed = 0;                                // for the importance RANDOM
  std::optional<ProbeBatch> images = std::nullopt;  // for rankings that look at them
};

struct CoupledRemoval {
  int64_t groups = 0;   // there are
  int64_t removed = 0;  // of them
  int64_t kept = 0;     // should have been removed, but a layer would have lost all its groups without them
};

// The groups of a network, ranked once so that they can be removed at any rate.
class RankedGroups {
 public:
  // `images` are looked at if LooksAtImages(ranking); then [n, C, H, W] in the dtype of the weights, on the CPU, with
  // labels. `network` must outlive the ranked groups. Errors: field errors of the ranking; an importance that a group
  // does not have; images that are missing, or whose loss is not finite.
  static absl::StatusOr<RankedGroups> Create(const WeightedNetwork& network, const GroupRanking& ranking, uint64_t seed,
                                             const std::optional<ProbeBatch>& images);

  // The network without a share of its groups, in [0, 1), those of least importance.
  absl::StatusOr<WeightedNetwork> Without(double rate, CoupledRemoval* removal = nullptr) const;

 private:
  RankedGroups(const WeightedNetwork& network, const GroupRanking& ranking);

  const WeightedNetwork* network_;
  GroupRanking ranking_;
  NetworkInfo info_;
  ChannelGroups grouping_;
  std::vector<GroupSet> sets_;
  std::vector<double> importances_;
};

// Removes groups from `network` at `options.rate`. Errors: a rate outside [0, 1); RankedGroups'; a ranking without a
// rate.
absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options);

}  // namespace prunelab
