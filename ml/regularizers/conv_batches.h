// Convolutions of one shape done together: closed forms are a few calls a batch instead of a few calls a layer, and no
// shape in them depends on masks, so nothing waits for the device.
//
//   for (const ConvBatch& batch : BatchConvs(layers, convs)) {
//     const CentredRows rows = Centre(batch.rows, batch.filter_mask);
//     ...
//     batch.StoreGradients(row_gradients, layers, penalty.gradients);
//   }
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <set>
#include <string>
#include <vector>

#include "ml/regularizers/regularizer.h"

namespace prunelab {

struct ConvBatch {
  std::vector<size_t> layers;  // indices into the layers given; all have one dtype, shape and memory format
  at::Tensor rows;             // [L, out, d]: FilterRows of the MaskedWeights, in memory of their own
  at::Tensor filter_mask;      // bool [L, out]; undefined where no layer has a filter mask

  // Sets the entries of `gradients` that belong to the batch to `row_gradients` [L, out, d] in the weights' shape,
  // times weight masks.
  void StoreGradients(const at::Tensor& row_gradients, const std::vector<RegularizedLayer>& all_layers,
                      std::vector<at::Tensor>& gradients) const;
};

// Batches in the order of their first layers; the convolutions named in `convs` only. Without gradients.
std::vector<ConvBatch> BatchConvs(const std::vector<RegularizedLayer>& layers, const std::set<std::string>& convs);

}  // namespace prunelab
