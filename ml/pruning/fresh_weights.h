// Weights as those that a training starts with, for filters that begin anew.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/base/random.h"

namespace prunelab {

// Normal numbers of the deviation (NetworkInfo::InitialDeviation), in the shape and dtype and on the device of
// `weight`.
at::Tensor FreshWeights(double deviation, const at::Tensor& weight, RandomStream& stream);

}  // namespace prunelab
