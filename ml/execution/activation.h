// The value of a node while a plan runs: a tensor, whole or in a form that its consumers understand.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace prunelab {

struct Activation {
  at::Tensor tensor;  // [N, stored channels, H, W], or [N, features]
  std::vector<int64_t>
      channels;  // the stored ones in ascending order; the others are zero and need no gradient; empty: all
  // If defined, one number for each stored channel: the activation is max(0, tensor * scale + shift), which its
  // consumer computes. The gradient that the consumer returns is the activation's nevertheless.
  at::Tensor scale, shift;
};

}  // namespace prunelab
