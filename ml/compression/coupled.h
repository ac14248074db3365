// Coupled removal: channels that the network's structure ties together go together, as dependency-graph tools do (Fang
// et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023). Unlike exact removal it also makes residual streams
// narrower, and it changes the function: fine-tune after it. What dead filters contribute as constants (by a bias, BN,
// or a function that is not zero at zero, such as a sigmoid) is dropped with them.
//
// The groups are those of channel_groups.h.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/status/statusor.h"
#include "ml/compression/channel_groups.h"
#include "ml/compression/group_ranking.pb.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

struct CoupledOptions {
  // No value: a group is removed if all its filters are dead (all weights zero). Otherwise this share of the groups is
  // removed, in [0, 1), of least importance as `ranking` says. Ties are removed in order.
  std::optional<double> rate;
  GroupRanking ranking = {};
  uint64_t seed = 0;  // for the importance RANDOM
};

struct CoupledRemoval {
  int64_t groups = 0;   // there are
  int64_t removed = 0;  // of them
  int64_t kept = 0;     // should have been removed, but a layer would have lost all its groups without them
};

// Errors: a rate outside [0, 1); field errors of the ranking, which goes with a rate; an importance that a group does
// not have.
absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options);

}  // namespace prunelab
