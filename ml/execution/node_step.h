// The step of one node without fusing, by LibTorch's calls (run_node.h): the whole reference plan, and what other plans
// use for the nodes that they do not fuse.
#pragma once

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Adds the step of node `i`; the step of an image passes the images on. If an input has only some channels, the node
// treats each channel in the same way, and its output has the same channels.
void AddNodeStep(PlanBuilder& builder, int i);

}  // namespace prunelab
