// The plan for GPUs: the reference plan with each batch normalization, the addition after it and its ReLU done
// together, forward and backward (ml/kernels/batch_norm/fused_batch_norm.h). Convolutions are the library's,
// except for the weight gradients that ml/kernels/device_conv3x3 has, and compute masked filters as any others. Nothing
// of it waits for the device, so a step can be captured (recorder.h).
//
// It differs from the reference plan by rounding alone. It runs in float and double, on any device; other types, and
// evaluation with gradients, use the reference plan. Its gradients cannot be differentiated again.
#pragma once

#include "ml/execution/plan.h"

namespace prunelab {

class FusedPlan : public Plan {
 public:
  CompiledPlan Compile(PlanStructure structure) const override;
};

}  // namespace prunelab
