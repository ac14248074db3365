// A batch normalization with what follows it (norm_units.h), as one autograd function.
#pragma once

#include "ml/execution/compiled_plan.h"
#include "ml/execution/norm_units.h"

namespace prunelab {

// Adds the step of `unit`, in float or double, on the CPU or, if the unit's ReLU has no ceiling, on a CUDA device. In
// kTrain the running statistics change; the graph that autograd records is once differentiable. In kEvaluate nothing is
// recorded.
void AddNormStep(PlanBuilder& builder, const NormUnit& unit);

}  // namespace prunelab
