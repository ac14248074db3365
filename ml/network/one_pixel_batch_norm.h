// Finds out whether a network needs batches of more than one image, because of batch normalization of maps of a single
// pixel.
#pragma once

#include <string>

#include "ml/network/network.h"

namespace prunelab {

// The name of the first batch norm whose maps have one pixel; "" if there is none. In training, a batch of one image
// gives it a single value per channel, which has no variance (PyTorch refuses such a batch): its output would be the
// constant beta, no gradient would pass through it, and the running variance, a sum divided by n - 1 = 0, would be NaN.
std::string OnePixelBatchNorm(const NetworkInfo& network);

}  // namespace prunelab
