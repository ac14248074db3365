// Coupled removal: channels that the network's structure ties together go together, as dependency-graph tools do (Fang
// et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023). Unlike exact removal it also makes residual streams
// narrower, and it changes the function: fine-tune after it. What dead filters contribute as constants (by a bias, BN,
// or a function that is not zero at zero, such as a sigmoid) is dropped with them.
//
//   stem conv, filter 3 --- sum --- channel 3 of the stream, read by all blocks
//   block.conv2, filter 3 -/        is one group: {stem 3, layer1.0.conv2 3, layer1.1.conv2 3, ...}
//
// Groups are found on the network. Operators whose output channels are made of single channels (BN, ReLU, pooling,
// sums, flatten, scatter, ...) tie these. A grouped convolution keeps its groups, and each loses the same channels: it
// ties the channels in the same place of all groups. If its groups have one channel on either side, it ties whole
// groups instead (a depthwise one single channels). Channels of the images and of the outputs are in no group.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

// What is removed together.
struct ChannelGroup {
  std::vector<std::pair<std::string, int64_t>> filters;  // convolution or linear layer, output: in the network's order
};

// In the order of their first filters; each filter is in at most one group.
std::vector<ChannelGroup> FindChannelGroups(const NetworkInfo& info);

struct CoupledOptions {
  // No value: a group is removed if all its filters are dead (all weights zero). Otherwise this share of all groups is
  // removed, in [0, 1): int(rate * groups) groups of the least importance, which is the mean over the group's filters
  // of their mean |weight|. Ties are removed in order.
  std::optional<double> rate;
};

struct CoupledRemoval {
  int64_t groups = 0;   // there are
  int64_t removed = 0;  // of them
  int64_t kept = 0;     // should have been removed, but a layer would have lost all its groups without them
};

// Error: a rate outside [0, 1).
absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options);

}  // namespace prunelab
