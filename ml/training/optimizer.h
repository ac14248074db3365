// What makes a step of the gradients: the interface of optimizers (sgd.h, adamw.h), and what they have in common.
//
//   const std::unique_ptr<Optimizer> optimizer = MakeOptimizer(config, model.parameters());  // make_optimizer.h
//   optimizer->set_learning_rate(0.1);
//   optimizer->Step(gradients);
//
// All parameters are changed in one fused call. On a GPU whatever differs from step to step is read from tensors, so
// that a captured step (step_capture.h) can be replayed.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "ml/execution/model.h"

namespace prunelab {

// `tensor` with the strides of `like`, which has the same shape: the tensor itself if it has these strides, else a
// copy.
at::Tensor LaidOutAs(const at::Tensor& tensor, const at::Tensor& like);

class Optimizer {
 public:
  virtual ~Optimizer() = default;
  Optimizer(const Optimizer&) = delete;
  Optimizer& operator=(const Optimizer&) = delete;

  // For the following steps. On a GPU it is copied to a tensor, which captured steps read.
  void set_learning_rate(double learning_rate);

  // One step with `gradients`, one for each parameter, in any memory format.
  void Step(const std::vector<at::Tensor>& gradients);

  // The running averages of gradients: first moments, then second ones, as far as the optimizer has them. Each is by
  // parameter, in the parameters' order, and zero before the first step.
  const std::vector<std::vector<at::Tensor>>& moments() const { return moments_; }

  // What else it remembers; to be restored together with the moments. Reading it may wait for a GPU.
  virtual int64_t steps() const = 0;  // that were made; of one that only knows whether there were any, 0 or 1
  virtual void set_steps(int64_t steps) = 0;
  // Whether the steps to come are all alike, so that one can be captured and replayed.
  virtual bool steps_are_alike() const = 0;

 protected:
  // Optimizes `parameters` in place, with so many moments of each.
  Optimizer(const std::vector<NamedTensor>& parameters, size_t moments);

  // The fused call, with gradients that are laid out as their parameters. It has the form that WithLearningRate takes.
  virtual void StepLaidOut(const std::vector<at::Tensor>& gradients) = 0;

  // Calls `step` with the learning rate: a tensor on a GPU, a number on the CPU.
  template <typename StepBy>
  void WithLearningRate(const StepBy& step) const {
    if (learning_rate_on_device_.defined()) {
      step(learning_rate_on_device_);
    } else {
      step(learning_rate_);
    }
  }

  const std::vector<at::Tensor>& parameters() const { return parameters_; }

 private:
  std::vector<at::Tensor> parameters_;  // detached views of the model's own
  std::vector<std::vector<at::Tensor>> moments_;
  double learning_rate_ = 0;
  at::Tensor learning_rate_on_device_;  // [], float32; on the CPU undefined
};

}  // namespace prunelab
