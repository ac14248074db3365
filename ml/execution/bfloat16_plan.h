// The reference plan under LibTorch's autocast to bfloat16: convolutions and linear layers multiply bfloat16 numbers,
// and activations between them are stored as bfloat16. The backward pass computes in the types of the forward pass.
//
// The model stays as it is: parameters are float32 and convolutions read a rounded copy, so gradients are float32, and
// so are BN's statistics. Logits and captured activations are returned as float32, and therefore losses and penalties
// on them are float32. On a CPU that cannot multiply bfloat16 numbers itself (ml/kernels/instruction_set.h) this works,
// but slowly.
#pragma once

#include "ml/execution/plan.h"

namespace prunelab {

class Bfloat16Plan : public Plan {
 public:
  // Checks that the model is float32: autocast ignores other types.
  CompiledPlan Compile(PlanStructure structure) const override;
};

}  // namespace prunelab
