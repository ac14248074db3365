// AdamW (Loshchilov and Hutter 2019, "Decoupled weight decay regularization") like PyTorch's: at step t, with learning
// rate r, gradient g and parameter w,
//
//   w = w - r weight_decay w
//   m = beta1 m + (1 - beta1) g
//   v = beta2 v + (1 - beta2) g^2
//   w = w - r (m / (1 - beta1^t)) / (sqrt(v / (1 - beta2^t)) + epsilon)
//
// Where w, m and g are zero, w stays exactly zero, whatever v is: so a weight that is masked, was set to zero together
// with its moments, and gets no gradient stays zero.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/execution/model.h"
#include "ml/training/optimizer.h"

namespace prunelab {

struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
};

class AdamWOptimizer : public Optimizer {
 public:
  AdamWOptimizer(const std::vector<NamedTensor>& parameters, AdamWOptions options);

  int64_t steps() const override;
  void set_steps(int64_t steps) override;
  // From the first one on: t is counted on the device, by the step itself.
  bool steps_are_alike() const override { return true; }

 private:
  void StepLaidOut(const std::vector<at::Tensor>& gradients) override;

  const AdamWOptions options_;
  at::Tensor steps_;                       // [], float32, as the fused call takes it: exact up to 2^24 steps
  std::vector<at::Tensor> steps_of_each_;  // the same tensor for each parameter
};

}  // namespace prunelab
