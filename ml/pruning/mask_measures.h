// What masks amount to: the measures of a masked network's size that need its masks alone, and what an update changed.
//
//   const MaskMeasures measures = MeasureMasks(model.info(), model.masks());
//   std::cout << measures.masked_filters << " of " << measures.filters << " filters are masked\n";
//
// Masks are given by node, either [out, 1, 1, 1] (filters) or in the weight's shape; an entry is on if it is not zero.
// A convolution without a mask is entirely on. Under a weight mask a filter counts as masked only if all its weights
// are off.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>

#include "ml/network/network.h"

namespace prunelab {

struct MaskMeasures {
  int64_t masked_filters = 0, filters = 0;       // of all convolutions
  int64_t masked_weights = 0, conv_weights = 0;  // of all convolutions, biases not counted
  int64_t parameters = 0;                        // of the whole network: weights and biases, BN and linear included
  double filter_sparsity = 0;                    // masked filters / filters
  double weight_sparsity = 0;                    // masked conv weights / conv weights
  double paper_sparsity = 0;                     // masked conv weights / all parameters
  std::map<std::string, int64_t> live_filters;   // by conv node, every one of the network's
};

// Fractions with nothing to count are 0. A mask for a node that is no convolution, or of another shape, is a failed
// check.
MaskMeasures MeasureMasks(const NetworkInfo& info, const std::map<std::string, at::Tensor>& masks);

// What an update changed, [2] int64 on the masks' device (nothing waits for it): how many entries differ, and how many
// of these were off and are on. Entries are filters where both masks are filter masks (or missing), else weights.
at::Tensor CountMaskChanges(const NetworkInfo& info, const std::map<std::string, at::Tensor>& before,
                            const std::map<std::string, at::Tensor>& after);

}  // namespace prunelab
