// Exact physical removal: from a network with dead filters to a smaller one that computes the same in eval mode.
//
//   WeightedNetwork network = {...};                         // masks multiplied into the weights
//   const std::vector<PassSaving> savings = Compress(network, {});
//
// The passes run one after the other, and rounds of them are repeated until a round changes nothing:
//
//   constant output   constant_output.h    logits that depend on no image
//   dead blocks       dead_blocks.h        sums with nothing in them, nodes that nobody needs
//   constant inputs   constant_inputs.h    what dead filters send on becomes biases and stored constants
//   shrink            shrink.h             convolutions, BN and linear layers lose dead channels
//   placing           placing_convolutions.h  if asked for, at the very end: scatters become 1x1 convolutions
//   batch norm        fold_batch_norm.h    if asked for: BN goes into convolutions
//
// The result is never larger than the input, in parameters (including stored constants) or in multiply-accumulates: if
// the constants that dead channels leave would take more space than their weights, the network stays as it is.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/compression/channel_layout.h"
#include "ml/compression/weighted_network.h"

namespace prunelab {

struct CompressionOptions {
  bool fold_batch_norm = false;  // for inference only
  // If the network became larger than it was, streams are scattered instead of convolved, and if that is not enough, it
  // gets the fewest channels.
  ChannelLayout layout;
};

// What one run of a pass saved; runs that changed nothing are left out. A negative number means that something was
// added.
struct PassSaving {
  std::string pass;
  int round = 1;
  int64_t nodes = 0;
  int64_t parameters = 0;  // including stored constants
  int64_t macs = 0;        // of one image
};

// `tensors` has all of the network's parameters and buffers in one floating dtype; other tensors are ignored. `masks`:
// by conv node, in the weight's shape or [out, 1, 1, 1]. Error: a value that is not finite; the error names it.
absl::StatusOr<WeightedNetwork> ApplyMasks(const NetworkInfo& info, const std::map<std::string, at::Tensor>& tensors,
                                           const std::map<std::string, at::Tensor>& masks);

// `used`: if not null, gets the layout that the network has, which is the options' unless it became too large.
std::vector<PassSaving> Compress(WeightedNetwork& network, const CompressionOptions& options,
                                 ChannelLayout* used = nullptr);

}  // namespace prunelab
