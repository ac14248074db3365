// Convolutions of one shape done together, for closed forms: a few calls a batch instead of a few calls a layer, and no
// shape in them depends on masks, so nothing waits for a device.
//
//   const std::vector<ConvGroup> groups = GroupConvs(layers, convs);
//   ForEachGroup(groups, layers, [&](size_t g) {
//     const ConvBatch batch = StackConvs(layers, groups[g]);
//     const CentredRows rows = Centre(batch.rows, batch.filter_mask, /*in_place=*/true);
//     ...
//     StoreGradients(row_gradients, layers, groups[g], penalty.gradients);
//   });
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Indices into the layers given, of convolutions that agree in dtype, shape and memory format.
using ConvGroup = std::vector<size_t>;

// The convolutions named in `convs`, in the order of the groups' first layers. On the CPU a group's weights fit a
// core's cache, so that one shape may make several groups.
std::vector<ConvGroup> GroupConvs(const std::vector<RegularizedLayer>& layers, const std::set<std::string>& convs);

// Calls `work` with the index of each group, without gradients. On the CPU groups are shared out to the threads, each
// group done by one; so `work` may write only what belongs to its group.
void ForEachGroup(const std::vector<ConvGroup>& groups, const std::vector<RegularizedLayer>& layers,
                  const std::function<void(size_t)>& work);

struct ConvBatch {
  at::Tensor rows;         // [L, out, d]: FilterRows of the MaskedWeights, in memory of their own
  at::Tensor filter_mask;  // bool [L, out]; undefined where no layer has a filter mask
};

ConvBatch StackConvs(const std::vector<RegularizedLayer>& layers, const ConvGroup& group);

// Sets the group's entries of `gradients` to `row_gradients` [L, out, d] in the weights' shape, times weight masks.
void StoreGradients(const at::Tensor& row_gradients, const std::vector<RegularizedLayer>& layers,
                    const ConvGroup& group, std::vector<at::Tensor>& gradients);

}  // namespace prunelab
