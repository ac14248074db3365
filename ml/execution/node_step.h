// The step of one node as it is, by LibTorch's calls (run_node.h): all of the reference plan, and what other plans do
// with the nodes that they do not fuse.
#pragma once

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Adds the step of node `i`; that of an image hands the images on. Of an input that holds some channels only, the node
// treats each channel alike, and its output holds the same.
void AddNodeStep(PlanBuilder& builder, int i);

}  // namespace prunelab
