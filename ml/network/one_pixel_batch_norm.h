// Where a network needs batches of more than one image: batch normalization of maps of a single pixel.
#pragma once

#include <string>

#include "ml/network/network.h"

namespace prunelab {

// The first batch norm whose maps have one pixel, by name; "" where there is none. In training, a batch of one image
// gives it a single value a channel, of which there is no variance (PyTorch refuses such a batch): its output is the
// constant beta, no gradient passes it, and the running variance, a sum over n - 1 = 0 values, is not a number.
std::string OnePixelBatchNorm(const NetworkInfo& network);

}  // namespace prunelab
