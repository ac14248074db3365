// The reference plan under LibTorch's autocast to bfloat16: convolutions and linear layers multiply bfloat16 numbers,
// and what lies between them is stored as such; backward follows, as it computes in the types of the forward pass.
//
// The model stays as it is: float32 parameters, of which convolutions read a rounded copy, and so float32 gradients;
// BN's statistics are float32. Logits and captured activations come out as float32, so that losses and penalties on
// them are. On a CPU that cannot multiply bfloat16 itself (ml/kernels/instruction_set.h) this works, but slowly.
#pragma once

#include "ml/execution/plan.h"

namespace prunelab {

class Bfloat16Plan : public Plan {
 public:
  // Checks that the model is of float32: autocast leaves other types alone.
  CompiledPlan Compile(PlanStructure structure) const override;
};

}  // namespace prunelab
