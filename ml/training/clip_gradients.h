// Bounds the length of a step's gradient, like PyTorch's torch.nn.utils.clip_grad_norm_.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace prunelab {

// `gradients` times min(1, norm / (n + 1e-6)), where n is the Euclidean norm of all of them together. They are new
// tensors: those given may be read elsewhere. If n is not finite, neither are they. Waits for no device.
std::vector<at::Tensor> ClippedToNorm(const std::vector<at::Tensor>& gradients, double norm);

}  // namespace prunelab
