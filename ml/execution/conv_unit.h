// A convolution with what follows it, as one autograd function: conv -> BN (-> add) (-> ReLU).
//
// A filter that is off has y = 0, so BN gives beta at each pixel (in evaluation the constant that the running
// statistics make of it). With g the gradient at BN's output, behind the ReLU's gate, the straight-through gradient of
// its weights is that of dy = gamma / sqrt(epsilon) (g - mean(g)). Hence a filter that is off needs
//   - no forward convolution and no input gradient, as its weights are 0;
//   - where a ReLU follows BN at once: nothing at all while beta <= 0. With beta > 0 its constant goes on to the
//     readers, and their input gradient on that channel comes back;
//   - else (add, or no ReLU): the weight gradient, always. The readers' gradient is there already;
//   - under masked gradients no weight gradient.
// Parameters stay dense and get full-size gradients. Betas' signs are read as it runs.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "ml/execution/forward_options.h"
#include "ml/execution/model.h"

namespace prunelab {

// Nodes by index; -1 where there is none. `other` is what the add adds to BN's output.
struct ConvUnit {
  int conv = -1, norm = -1, add = -1, relu = -1;
  int input = -1, other = -1, output = -1;
};

// An activation of which only some channels are there; those that are not are zero, and their gradient is not needed.
struct Activation {
  at::Tensor tensor;              // [N, channels that are there, H, W]
  std::vector<int64_t> channels;  // which, increasing; empty: all
  // Where defined, of the channels that are there: the activation is max(0, tensor * scale + shift), which its reader
  // is to make of it. The gradient that goes back is the activation's all the same.
  at::Tensor scale, shift;
};

// How a unit's output may be given.
struct OutputForm {
  bool compact = false;   // all who read it take an Activation without all channels
  bool deferred = false;  // its only reader is a unit, by its convolution: BN and ReLU may be left to it
};

// Runs `unit` on the CPU, in float or double. `form` counts only where a ReLU follows BN at once. `addend`: the output
// of unit.other. The multiply-accumulates for one
// image, forward and what its backward pass will execute, are added to `macs`. In kTrain the running statistics change
// and, unless gradients are switched off, the graph is recorded, once differentiable; in kEvaluate nothing is recorded.
//
// Where `input` has readers that run after this, they are to take it as this leaves it: the gradients that they give
// back are then summed by this unit's backward pass as it writes its own, and not in a pass over them.
Activation RunConvUnit(Model& model, const ConvUnit& unit, Activation& input, const at::Tensor& addend,
                       const ForwardOptions& options, const OutputForm& form, bool input_is_read_again, int64_t* macs);

}  // namespace prunelab
