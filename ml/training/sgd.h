// Stochastic gradient descent like PyTorch's: weight decay added to the gradient, momentum (Nesterov's on request), all
// parameters in one fused call. The momentum of the first step is its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

struct SgdOptions {
  double momentum = 0;
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;
};

// `tensor` with the strides of `like`, which has the same shape: the tensor itself if it has these strides, else a
// copy.
at::Tensor LaidOutAs(const at::Tensor& tensor, const at::Tensor& like);

class SgdOptimizer {
 public:
  // Optimizes `parameters` in place.
  SgdOptimizer(const std::vector<NamedTensor>& parameters, SgdOptions options);

  // For the following steps. On a GPU it is copied to a tensor, which captured steps (recorder.h) read.
  void set_learning_rate(double learning_rate);

  // One step with `gradients`, one for each parameter, in any memory format.
  void Step(const std::vector<at::Tensor>& gradients);

  // Momentum buffers in the order of the parameters, zero before the first step; without momentum empty.
  const std::vector<at::Tensor>& momentum() const { return momentum_; }
  // Whether a step was made; restore it together with the momentum.
  bool started() const { return started_; }
  void set_started(bool started) { started_ = started; }

 private:
  SgdOptions options_;
  std::vector<at::Tensor> parameters_;  // detached views of the model's own
  std::vector<at::Tensor> momentum_;
  double learning_rate_ = 0;
  at::Tensor learning_rate_on_device_;  // [], float32; on the CPU undefined
  bool started_ = false;
};

}  // namespace prunelab
