// Exact physical removal: from a network with dead filters to a smaller one that computes the same in eval mode.
//
//   WeightedNetwork network = {...};                         // masks multiplied into the weights
//   const std::vector<PassSaving> savings = Compress(network, {});
//
// The passes run one after the other, round by round, until a round changes nothing:
//
//   constant output   constant_output.h    logits that depend on no image
//   dead blocks       dead_blocks.h        sums with nothing in them, nodes that nobody needs
//   constant inputs   constant_inputs.h    what dead filters send on becomes biases and stored constants
//   shrink            shrink.h             convolutions, BN and linear layers lose dead channels
//   batch norm        fold_batch_norm.h    if asked for: BN goes into convolutions
//
// What comes out is never larger than what went in, in parameters (stored constants counted) or in
// multiply-accumulates: where the constants that dead channels leave would take more than their weights, the network
// stays as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

struct CompressionOptions {
  bool fold_batch_norm = false;  // for inference only
  // Kept channels are rounded up to a multiple of it with dead ones, which some processors compute faster; 1: exactly
  // the live channels. As if 1 where the network would become larger than it was.
  int64_t channel_multiple = 1;
};

// What one run of a pass saved; runs that changed nothing are left out. Negative where something was added.
struct PassSaving {
  std::string pass;
  int round = 1;
  int64_t nodes = 0;
  int64_t parameters = 0;  // stored constants counted
  int64_t macs = 0;        // of one image
};

// `tensors` has all of the network's parameters and buffers in one floating dtype; others are ignored. `masks`: by conv
// node, of the weight's shape or [out, 1, 1, 1]. Errors: a value that is not finite, named.
absl::StatusOr<WeightedNetwork> ApplyMasks(const NetworkInfo& info, const std::map<std::string, at::Tensor>& tensors,
                                           const std::map<std::string, at::Tensor>& masks);

std::vector<PassSaving> Compress(WeightedNetwork& network, const CompressionOptions& options);

}  // namespace prunelab
