// Compactors: 1x1 convolutions behind others, at first the identity, that learn to have fewer channels in their place,
// as ResRep trains them (Ding et al. 2021, "ResRep: Lossless CNN Pruning via Decoupling Remembering and Forgetting",
// ICCV). Between a convolution and its compactor there is nothing but a batch norm, so both are one convolution in the
// end (ml/compression/merge_compactors.h).
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/network/network.h"

namespace prunelab {

// The name of the compactor of a convolution: "<conv>.compactor".
std::string CompactorOf(const std::string& conv);

// Whether the node is one, or the network has any.
bool IsCompactor(const Node& node);
bool HasCompactors(const NetworkInfo& network);

// The network with a compactor behind each of `convs`, convolutions without groups: behind the batch norm that alone
// reads it, where there is one. What read that, and outputs of the network, read the compactor. Error: InvalidArgument,
// if a convolution has one already.
absl::StatusOr<Network> WithCompactors(const NetworkInfo& network, const std::vector<std::string>& convs);

// A compactor that can become one with a convolution, by node: what it reads is that, or the batch norm in between, and
// nothing else reads either.
struct MergeableCompactor {
  int compactor = -1, conv = -1;
  int batch_norm = -1;  // -1: none
};
std::vector<MergeableCompactor> MergeableCompactors(const NetworkInfo& network);

// The network without these, which have as many channels as they read, unless one has been made narrower and stays.
NetworkInfo WithoutCompactors(const NetworkInfo& network);

}  // namespace prunelab
