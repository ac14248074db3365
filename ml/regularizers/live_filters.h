// The filters of a convolution that correlations and penalties are about, and the filters as rows of a matrix.
//
// A filter is live when its mask is on (for weight masks: any of its weights) and, with w its masked weights as one row
// and c = w - mean(w), mean |w| > 1e-4 and |c| >= 1e-6 |w|: a filter that decay has made nothing, or that is constant,
// has no direction to be correlated. For weight masks the mean is over the whole row, masked weights included.
//
//   const CentredRows rows = Centre(FilterRows(MaskedWeight(layer)), FilterMask(layer));
//   const at::Tensor index = rows.live.nonzero();
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/regularizers/regularizer.h"

namespace prunelab {

// Whether the mask of the layer has an entry for each weight (more than one for each filter).
bool HasWeightMask(const RegularizedLayer& layer);

// Whether the layer has a mask with one entry for each filter.
bool HasFilterMask(const RegularizedLayer& layer);

// The dense weight times a weight mask; the dense weight itself under filter masks and without a mask, where FilterMask
// identifies dead filters. Differentiable in the weight.
at::Tensor MaskedWeight(const RegularizedLayer& layer);

// Bool [out], true where a filter mask is on; undefined if there is no filter mask.
at::Tensor FilterMask(const RegularizedLayer& layer);

// The dense weight times the mask, of either kind: what the forward pass uses. Differentiable in the weight; what is
// off gets no gradient. For penalties that need no direction of a filter, and so no threshold below which it has none.
at::Tensor AppliedWeight(const RegularizedLayer& layer);

// Bool [out], true where a mask of either kind leaves the filter a weight; undefined if there is no mask.
at::Tensor UnmaskedFilters(const RegularizedLayer& layer);

// [out, in / groups, kh, kw] -> [out, in / groups * kh * kw], each row in the weight's own order of memory, so that
// neither contiguous nor channels_last weights are copied.
at::Tensor FilterRows(const at::Tensor& weight);

// The inverse: rows in the order that FilterRows(weight) has, seen in the weight's shape.
at::Tensor FromFilterRows(const at::Tensor& rows, const at::Tensor& weight);

// Rows [..., out, d] less their means, with what tells which are live.
struct CentredRows {
  at::Tensor centred;  // c, [..., out, d]
  at::Tensor norms;    // |c|, [..., out]
  at::Tensor live;     // bool [..., out]
};

// `filter_mask`: bool [..., out], or undefined. With `in_place` the rows' own memory takes the centred ones.
CentredRows Centre(const at::Tensor& rows, const at::Tensor& filter_mask, bool in_place = false);

// A convolution's filters scaled to length 1, for code that runs on a GPU: filters that are not live are zeros, so that
// no shape depends on which they are and nothing synchronizes. Differentiable in the weight; filters that are not live
// get no gradient.
struct UnitRows {
  at::Tensor rows;  // [out, d], as FilterRows
  at::Tensor live;  // [out], 1 and 0, in the weight's dtype
};

// `centred`: of the weights less their mean.
UnitRows LiveUnitRows(const RegularizedLayer& layer, bool centred);

// Bool [out] for a convolution's layer.
at::Tensor LiveFilters(const RegularizedLayer& layer);

}  // namespace prunelab
