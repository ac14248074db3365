// A faster plan that computes the same: convolutions are fused with BN, add and ReLU, and there is no work on masked
// filters where none is needed (conv_unit.h says where). If all consumers of such a unit are convolutions, its output
// has only the channels that are needed; residual streams keep their width. In evaluation, in float, 3x3 convolutions
// without BN, which removal and BN folding produce, are fused with what follows them (folded_conv.h).
//
// It differs from the reference plan by rounding alone: sums over a batch are computed in another order. What it
// executes depends on shapes, masks and the signs of BN's biases, never on timings, so runs repeat. It runs only on the
// CPU, and for evaluation without gradients or for training; otherwise the reference plan runs. Its gradients cannot be
// differentiated again.
#pragma once

#include "ml/execution/plan.h"

namespace prunelab {

class SkippingPlan : public Plan {
 public:
  CompiledPlan Compile(PlanStructure structure) const override;
};

}  // namespace prunelab
