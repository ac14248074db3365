// The value of a node while a plan runs: a tensor, whole or in a form that its consumers understand.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace prunelab {

struct Activation {
  at::Tensor tensor;              // [N, channels that are there, H, W], or [N, features]
  std::vector<int64_t> channels;  // which are there, increasing; the others are zero and need no gradient; empty: all
  // Where defined, one number for each channel that is there: the activation is max(0, tensor * scale + shift), which
  // its consumer computes. The gradient that goes back is the activation's all the same.
  at::Tensor scale, shift;
};

}  // namespace prunelab
