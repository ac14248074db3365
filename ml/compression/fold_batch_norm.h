// Folds BN in eval mode into the convolution before it, which saves a node at inference.
//
//   bn(conv(x, w))   becomes   conv(x, w * s) + (beta - mean * s),   s = gamma / sqrt(running_var + epsilon)
//
// This also works if a stored constant is added in between, but only if nothing else reads the convolution. Dropout,
// which does nothing in evaluation, is left out. The result is for inference: training it differs from training the
// original network.
#pragma once

#include "ml/compression/weighted_network.h"

namespace prunelab {

void FoldBatchNorm(WeightedNetwork& network);

// The same only where BN stands right after the convolution.
void FoldBatchNormAfterConvolutions(WeightedNetwork& network);

}  // namespace prunelab
