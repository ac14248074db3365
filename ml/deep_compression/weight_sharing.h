// Weight sharing of Deep Compression (Han, Mao and Dally, ICLR 2016, section 3): the weights of a layer that are not
// zero are grouped by k-means in one dimension, and every weight becomes the centre of its group. A weight is then an
// index into a short codebook.
//
//   const SharedWeights shared = ShareWeights(weight, /*clusters=*/32);
//   const at::Tensor quantized = ValuesOf(shared);  // as `weight`, with at most 32 values and the same zeros
//
// Zeros are no members of a group: what pruning has set to zero stays exactly zero.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace prunelab {

struct SharedWeights {
  at::Tensor codebook;  // [clusters] float32, ascending, no value twice
  at::Tensor indices;   // int32 in the weight's shape: an index into the codebook, or -1 where the weight is zero
};

// k-means over the weights that are not zero: Lloyd's iterations from centres that are spaced evenly from the least to
// the greatest weight (the paper's "linear" initialization: large weights are few and matter most, and centres drawn by
// density would leave them out), until no weight changes its group. A weight halfway between two centres belongs to the
// lower one. Groups that end empty are dropped. Where there are no more than `clusters` different weights, these are
// the codebook and nothing changes; so sharing what was shared changes nothing.
//
// In one dimension a group is an interval, so the weights are sorted once and each iteration moves the limits alone.
// Sums are those of float64 in the sorted order: the result does not depend on the number of threads.
//
// `weight`: float32, any shape, finite (checked); -0.0 is zero. `clusters`: at least 1 (checked). No weight, or none
// that is not zero: an empty codebook.
SharedWeights ShareWeights(const at::Tensor& weight, int64_t clusters);

// The weights, float32: codebook[index], and +0.0 where the index is -1.
at::Tensor ValuesOf(const SharedWeights& shared);

// The gradient of a codebook: for each of `clusters` values the sum of `gradient` over the weights that share it (the
// paper's equation 3), because they all move with it. [clusters] in the dtype of `gradient`; added in float64 in the
// order of the elements. `gradient` has the shape of `indices` (checked), and an index is from -1 to clusters - 1
// (checked).
at::Tensor CentroidGradients(const at::Tensor& gradient, const at::Tensor& indices, int64_t clusters);

}  // namespace prunelab
