// What zhu_decorrelation (zhu_decorrelation.proto) sums up, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/regularizers/regularizer.h"

namespace prunelab {

// A layer's |P - I|_F / n as computed on a GPU, without checking which filters are live.
at::Tensor ZhuTermOnDevice(const RegularizedLayer& layer);

}  // namespace prunelab
