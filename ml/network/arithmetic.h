// The functions of the operator Arithmetic (network.proto), on tensors: what a plan executes, and what becomes of
// constant channels.
#pragma once

#include <ATen/core/Tensor.h>

#include "ml/network/network.pb.h"

namespace prunelab {

// Of shapes that can be broadcast to each other. Autograd differentiates through it.
at::Tensor ApplyArithmetic(const Arithmetic& arithmetic, const at::Tensor& a, const at::Tensor& b);

}  // namespace prunelab
