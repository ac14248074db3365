// How a network is executed. A plan compiles the network into steps (compiled_plan.h) once for each structure that it
// meets, and all plans are executed by the same loop: they differ in how they compile alone.
//
//   SkippingPlan plan;
//   const ForwardResult result = plan.Forward(model, images, options);
//
// The reference plan is plain: one LibTorch call a node, convolution weights through one autograd function
// Mask(weight, mask, policy). Other plans must agree with it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <list>

#include "ml/execution/compiled_plan.h"
#include "ml/execution/forward_options.h"
#include "ml/execution/model.h"

namespace prunelab {

class Plan {
 public:
  virtual ~Plan() = default;

  // `images` [N, C, H, W] in the model's dtype and on its device. In kTrain the graph for the backward pass is recorded
  // (unless gradients are turned off), and the running statistics of `model` change.
  ForwardResult Forward(Model& model, const at::Tensor& images, const ForwardOptions& options);

  // The steps of a structure, whether it was met before or not.
  virtual CompiledPlan Compile(PlanStructure structure) const = 0;

 private:
  std::list<CompiledPlan> compiled_;  // the structures met last, the latest first
};

class ReferencePlan : public Plan {
 public:
  CompiledPlan Compile(PlanStructure structure) const override;
};

// ForwardResult::executed_macs of a step in which nothing is skipped: three times those of the forward pass, minus an
// input gradient for each layer that reads the images.
int64_t DenseTrainingMacs(const NetworkInfo& info);

}  // namespace prunelab
