// A convolution by itself, forward and backward: by the project's own kernels if they can compute it (ml/kernels), else by
// the library, as run_node.h does.
#pragma once

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Adds the step of the convolution `node`, on the CPU. The graph that autograd records is once differentiable.
void AddConvStep(PlanBuilder& builder, int node);

}  // namespace prunelab
