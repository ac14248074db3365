// The convolution of a unit (conv_unit.h), whose padding is equal on both sides, forward and backward: by the project's
// own kernels if they can compute it (ml/kernels), else by the library.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "ml/network/network.h"

namespace prunelab {

// The data of a tensor; null if it is undefined.
template <typename T>
const T* Data(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}
template <typename T>
T* MutableData(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr<T>() : nullptr;
}

// Like `tensor` [N, ., H, W], but with so many channels, in channels_last memory and without values.
at::Tensor EmptyLike(const at::Tensor& tensor, int64_t channels);

// A convolution's input in channels_last memory, with BN and ReLU still to be applied if scale and shift are defined.
struct ConvInput {
  at::Tensor tensor, scale, shift;
  // The input itself.
  at::Tensor Made() const;
};

// Whether a kernel of the project's own computes the convolution of such an input.
bool HasOwnKernel(const Conv2d& conv, const at::Tensor& weight, const at::Tensor& input);

// [N, out, H, W] in channels_last memory.
at::Tensor ConvForward(const Conv2d& conv, const ConvInput& input, const at::Tensor& weight);

struct ConvGradients {
  at::Tensor input, weight;  // undefined where not wanted
};

// The requested gradients, from the output's gradient `dy`. `of_others` is added to the input's gradient if it is
// defined.
ConvGradients ConvBackward(const Conv2d& conv, const at::Tensor& dy, const ConvInput& input, const at::Tensor& weight,
                           bool needs_input, bool needs_weight, const at::Tensor& of_others);

}  // namespace prunelab
