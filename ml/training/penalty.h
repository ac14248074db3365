// The penalty in a training step: a regularizer's term with its weight, in addition to the loss.
//
//   StepPenalty penalty(regularizer, weight, std::nullopt, model);
//   penalty.SetStep(step);
//   options.capture = penalty.activation_nodes();            // forward
//   ActivationPenalty activations = penalty.OfActivations(result.captured);
//   std::vector<at::Tensor> gradients = penalty.Differentiate(loss, activations, /*apart=*/false);
//   penalty.AddTo(gradients, model, activations, /*measures=*/nullptr);
//
// The term on the weights has its gradient computed apart from the loss's. The term on activations goes back through
// the network together with the loss, which costs nothing more; where the loss's gradients are wanted alone, it goes
// back once more by itself.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ml/execution/model.h"
#include "ml/regularizers/regularizer.h"
#include "ml/training/training.pb.h"

namespace prunelab {

// The nodes with weights as regularizers see them, in the network's order, with the masks of `model`.
std::vector<RegularizedLayer> RegularizedLayers(const Model& model);

// A regularizer's term on activations, without its weight.
struct ActivationPenalty {
  at::Tensor value;                   // undefined if there is none
  std::vector<at::Tensor> gradients;  // by parameter, undefined means zero; empty: in the loss's gradients already
};

struct PenaltyMeasures {
  double value = 0;           // with its weight
  double gradient_ratio = 0;  // norm of the weighted penalty's gradient / of the loss's
};

class StepPenalty {
 public:
  // `regularizer` outlives this object. All models given have the parameters of `model`.
  StepPenalty(const Regularizer& regularizer, double weight, const std::optional<WeightGrowth>& growth,
              const Model& model);

  // The weight is from now on that of the step, counted from 0. Nothing waits for the device.
  void SetStep(int64_t step);
  double weight() const { return weight_; }

  // Nodes whose outputs the term on activations reads; none if it has no weight.
  std::set<std::string> activation_nodes() const;

  // The term on the outputs of activation_nodes(), without gradients.
  ActivationPenalty OfActivations(const std::map<std::string, at::Tensor>& captured) const;

  // Gradients of `loss` by parameter, in the model's order. Those of the weighted term on activations are among them,
  // or `apart`, in `activations`, without its weight. Frees the graph.
  std::vector<at::Tensor> Differentiate(const at::Tensor& loss, ActivationPenalty& activations, bool apart) const;

  // Adds the weighted penalty's gradients, except for those of activations that are already included. If `measures` is
  // given, it is set, which synchronizes with a GPU; then the gradients of activations must be separate.
  void AddTo(std::vector<at::Tensor>& gradients, const Model& model, const ActivationPenalty& activations,
             PenaltyMeasures* measures) const;

 private:
  PenaltyMeasures Measure(const std::vector<at::Tensor>& loss, const std::vector<at::Tensor>& penalty,
                          const at::Tensor& of_weights, const at::Tensor& of_activations) const;

  // sum + weight * term. A captured step reads the weight from the device, where it grows.
  at::Tensor Weighted(const at::Tensor& sum, const at::Tensor& term) const;

  const Regularizer& regularizer_;
  const double first_weight_;
  const std::optional<WeightGrowth> growth_;
  double weight_;
  at::Tensor weight_on_device_;                      // scalar; undefined on the CPU, and where nothing grows
  std::vector<at::Tensor> parameters_;               // the model's, in its order
  std::vector<size_t> layer_parameters_;             // of each regularized layer, the index of its weight among them
  std::vector<std::optional<size_t>> layer_shifts_;  // the same of its bias, where it has one
};

}  // namespace prunelab
