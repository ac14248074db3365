// Quantization-aware training: a plan whose training steps compute as the quantized network would, so that the weights
// learn to live with the rounding.
//
//   QuantizedTrainingPlan plan(model, {/*weight_bits=*/8, /*activation_bits=*/8});
//   plan.Forward(model, images, train);                      // observes ranges
//   plan.set_rounding(true);                                 // and rounds from now on
//   PRUNELAB_ASSIGN_OR_RETURN(const WeightedNetwork quantized, plan.Quantized(model));
//
// In kTrain,
//   - weights of convolutions and linear layers (times their masks) are rounded to whole multiples of their scales, as
//     they will be once BN is folded into them: with s = gamma / sqrt(running_var + epsilon) of the BN right after the
//     convolution, the convolution uses round(w s) / s, and BN goes on with that by the batch's own statistics. So BN
//     normalizes what the rounded weights compute, and the weights that are rounded are those of inference;
//   - the values of the network that Quantize (quantize.h) puts on grids are rounded to them. Their ranges are moving
//     averages of the batches' least and largest values, which are observed whether values are rounded or not, so that
//     rounding may begin when they have settled.
// Gradients pass straight through the rounding (ml/execution/straight_through.h). In kEvaluate nothing is observed, and
// values are rounded as in training, but it is Quantized() that says what the training stands for.
//
// Sources: Jacob et al., CVPR 2018, section 3; Krishnamoorthi 2018, "Quantizing deep convolutional networks for
// efficient inference", section 3.2.2 (weights scaled by the running statistics), as torch.ao's ConvBn2d has it.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "ml/compression/weighted_network.h"
#include "ml/execution/model.h"
#include "ml/execution/plan.h"

namespace prunelab {

struct TrainingQuantization {
  int64_t weight_bits = 8;       // from 2 to 8
  int64_t activation_bits = 8;   // from 2 to 8
  bool per_channel = true;       // a scale for each output channel of a weight; false: one for the layer
  double range_momentum = 0.01;  // of a new batch in the moving averages, in (0, 1]
};

// Of a value's range: float64 [3] of least value, largest value (averages; 0 is always between them) and the number of
// batches they come from.
using ObservedRange = at::Tensor;

class QuantizedTrainingPlan : public Plan {
 public:
  // For models of this one's network, on its device.
  QuantizedTrainingPlan(const Model& model, const TrainingQuantization& options);

  void set_rounding(bool rounding) { state_->rounding = rounding; }
  bool rounding() const { return state_->rounding; }

  // By node of the network that is trained; not empty. Copy into them to go on from a saved state.
  const std::map<std::string, ObservedRange>& ranges() const { return state_->ranges; }

  // The quantized network of the model's weights and of these ranges, on the CPU. Errors: a weight that is not finite;
  // a range that was never observed.
  absl::StatusOr<WeightedNetwork> Quantized(const Model& model) const;

  CompiledPlan Compile(PlanStructure structure) const override;

  struct State {
    TrainingQuantization options;
    bool rounding = false;
    std::map<std::string, ObservedRange> ranges;
  };

 private:
  std::shared_ptr<State> state_;  // shared with the steps
  // By node of the network with BN folded, of those that are put on grids: the node of the trained network whose values
  // they are.
  std::map<std::string, std::string> observed_nodes_;
};

}  // namespace prunelab
