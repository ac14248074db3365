// The functions of the operator Elementwise (network.proto), on tensors: what a plan executes, and what becomes of
// constant channels.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/network/network.pb.h"

namespace prunelab {

// Of any shape and floating type. Autograd differentiates through it. `overwrite`: the result may take the memory of x;
// it counts only where autograd does not record.
at::Tensor ApplyElementwise(const Elementwise& elementwise, const at::Tensor& x, bool overwrite = false);

}  // namespace prunelab
