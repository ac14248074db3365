// Stochastic gradient descent like PyTorch's: weight decay added to the gradient, momentum (Nesterov's on request). The
// momentum of the first step is its gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/execution/model.h"
#include "ml/training/optimizer.h"

namespace prunelab {

struct SgdOptions {
  double momentum = 0;  // 0: there are no moments
  double dampening = 0;
  bool nesterov = false;
  double weight_decay = 0;
};

class SgdOptimizer : public Optimizer {
 public:
  SgdOptimizer(const std::vector<NamedTensor>& parameters, SgdOptions options);

  int64_t steps() const override { return started_ ? 1 : 0; }
  void set_steps(int64_t steps) override { started_ = steps != 0; }
  // The first step is unlike the others: it starts the momentum.
  bool steps_are_alike() const override { return started_; }

 private:
  void StepLaidOut(const std::vector<at::Tensor>& gradients) override;

  const SgdOptions options_;
  bool started_ = false;
};

}  // namespace prunelab
