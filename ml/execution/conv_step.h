// A convolution by itself, forward and backward: by the project's own kernels if they can compute it (ml/kernels), else
// by the library, as run_node.h does.
#pragma once

#include <cstdint>

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Adds the step of the convolution `node`, on the CPU. The graph that autograd records is once differentiable.
//
// In kEvaluate the step may also do `clip`, the ReLU or clip that is the convolution's only consumer (-1: none).
void AddConvStep(PlanBuilder& builder, int node, int clip = -1);

// Whether the convolution `conv` of `in_channels` channels is one that does its `clip` as it writes its output.
bool CanClip(const Conv2d& conv, int64_t in_channels, const Node& clip);

}  // namespace prunelab
