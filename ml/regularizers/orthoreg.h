// What orthoreg (orthoreg.proto) sums up, for its test.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/regularizers/orthoreg.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// A layer's term as computed on a GPU, without checking which filters are live.
at::Tensor OrthoregTermOnDevice(const Orthoreg& parameters, const RegularizedLayer& layer);

}  // namespace prunelab
