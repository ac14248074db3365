// A convolution with the nodes that follow it, as one autograd function: conv -> BN (-> add) (-> ReLU).
//
// A filter that is off has y = 0, so BN gives beta at each pixel (in evaluation the constant that the running
// statistics make of it). With g the gradient at BN's output, after the ReLU's gate, the straight-through gradient of
// its weights is that of dy = gamma / sqrt(epsilon) (g - mean(g)). Hence a filter that is off needs
//   - no forward convolution and no input gradient, as its weights are 0;
//   - where a ReLU follows BN at once: nothing at all while beta <= 0. With beta > 0 its constant goes on to the
//     readers, and their input gradient on that channel comes back;
//   - else (add, or no ReLU): the weight gradient, always. The readers' gradient is there already;
//   - under masked gradients no weight gradient.
// Parameters stay dense and get full-size gradients. The signs of the betas are read at run time.
#pragma once

#include <limits>

#include "ml/execution/compiled_plan.h"

namespace prunelab {

// Nodes by index; -1 if there is none. `other` is the node whose output the add adds to BN's.
struct ConvUnit {
  int conv = -1, norm = -1, add = -1, relu = -1;
  int input = -1, other = -1, output = -1;
  double ceiling = std::numeric_limits<double>::infinity();  // of the ReLU (norm_units.h)
};

// How a unit's output may be given. It counts only where a ReLU follows BN at once.
struct OutputForm {
  bool compact = false;  // all consumers take an Activation without all channels
  // The only consumer is a unit, by its convolution: BN and ReLU may be left to it, unless the ReLU has a ceiling.
  bool deferred = false;
};

// Adds the step of `unit`, which runs on the CPU, in float or double. In kTrain the running statistics change and,
// unless gradients are switched off, the graph is recorded, once differentiable; in kEvaluate nothing is recorded.
//
// If the unit's input has consumers that run later, they must use it as this step leaves it: then this unit's backward
// pass adds the gradients that they return as it writes its own, and no separate pass is needed.
void AddConvUnitStep(PlanBuilder& builder, const ConvUnit& unit, const OutputForm& form);

}  // namespace prunelab
