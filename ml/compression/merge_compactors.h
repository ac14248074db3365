// Puts each compactor (ml/network/compactors.h) and the convolution before it together, with the batch norm between
// them:
//
//   q(bn(conv(x, w)))   becomes   conv(x, q (w s)) + q (beta - mean s),   s = gamma / sqrt(running_var + epsilon)
//
// The function stays the same. The result is for inference: it has no batch norm there, whose statistics would be those
// of other channels. A convolution that something else reads, too, keeps its compactor.
#pragma once

#include "ml/compression/weighted_network.h"

namespace prunelab {

void MergeCompactors(WeightedNetwork& network);

}  // namespace prunelab
