#include "ml/training/penalty.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"

namespace prunelab {
namespace {

RegularizedLayer::Kind KindOf(const Node& node) {
  if (node.has_conv2d()) return RegularizedLayer::Kind::kConv;
  if (node.has_linear()) return RegularizedLayer::Kind::kLinear;
  return RegularizedLayer::Kind::kBatchNorm;
}

bool IsWeight(const NamedTensor& parameter) { return parameter.name == absl::StrCat(parameter.node, ".weight"); }

// Of the norm of all tensors together, the square, in float64, as a tensor: on a GPU nothing waits.
at::Tensor SquaredNorm(const std::vector<at::Tensor>& tensors, at::Device device) {
  at::Tensor sum = at::zeros({}, at::TensorOptions(device).dtype(at::kDouble));
  for (const at::Tensor& tensor : tensors) {
    if (tensor.defined()) sum += tensor.detach().to(at::kDouble).square().sum();
  }
  return sum;
}

}  // namespace

std::vector<RegularizedLayer> RegularizedLayers(const Model& model) {
  std::vector<RegularizedLayer> layers;
  for (const NamedTensor& parameter : model.parameters()) {
    if (!IsWeight(parameter)) continue;
    RegularizedLayer layer;
    layer.node = parameter.node;
    layer.kind = KindOf(model.info().node(model.info().Index(parameter.node)));
    layer.weight = parameter.tensor.detach();
    if (layer.kind == RegularizedLayer::Kind::kBatchNorm && model.Has(absl::StrCat(parameter.node, ".bias"))) {
      layer.shift = model.Get(absl::StrCat(parameter.node, ".bias")).detach();
    }
    const auto mask = model.masks().find(parameter.node);
    if (mask != model.masks().end()) layer.mask = mask->second;
    layers.push_back(std::move(layer));
  }
  return layers;
}

StepPenalty::StepPenalty(const Regularizer& regularizer, double weight, const std::optional<WeightGrowth>& growth,
                         const Model& model)
    : regularizer_(regularizer), first_weight_(weight), growth_(growth), weight_(weight) {
  std::string last_node;
  for (const NamedTensor& parameter : model.parameters()) {
    if (IsWeight(parameter)) {
      layer_parameters_.push_back(parameters_.size());
      layer_shifts_.emplace_back();
      last_node = parameter.node;
    } else if (parameter.node == last_node && parameter.name == absl::StrCat(last_node, ".bias")) {
      layer_shifts_.back() = parameters_.size();  // a bias comes after its weight, if its node has one
    }
    parameters_.push_back(parameter.tensor);
  }
  if (growth_ && !model.device().is_cpu()) {
    weight_on_device_ = at::full({}, weight, at::TensorOptions(model.device()).dtype(at::kDouble));
  }
}

void StepPenalty::SetStep(int64_t step) {
  if (!growth_) return;
  const double weight = std::min(first_weight_ * static_cast<double>(step / growth_->period() + 1), growth_->until());
  if (weight_on_device_.defined() && weight != weight_) weight_on_device_.fill_(weight);
  weight_ = weight;
}

at::Tensor StepPenalty::Weighted(const at::Tensor& sum, const at::Tensor& term) const {
  return weight_on_device_.defined() ? sum + term * weight_on_device_ : at::add(sum, term, weight_);
}

std::set<std::string> StepPenalty::activation_nodes() const {
  return weight_ != 0 ? regularizer_.activation_nodes() : std::set<std::string>();
}

ActivationPenalty StepPenalty::OfActivations(const std::map<std::string, at::Tensor>& captured) const {
  ActivationPenalty activations;
  if (!captured.empty()) activations.value = regularizer_.ActivationValue(captured);
  return activations;
}

std::vector<at::Tensor> StepPenalty::Differentiate(const at::Tensor& loss, ActivationPenalty& activations,
                                                   bool apart) const {
  const bool differentiable = activations.value.defined() && activations.value.requires_grad();
  if (!differentiable) return torch::autograd::grad({loss}, parameters_);
  if (!apart) return torch::autograd::grad({Weighted(loss, activations.value)}, parameters_);
  std::vector<at::Tensor> gradients =
      torch::autograd::grad({loss}, parameters_, /*grad_outputs=*/{}, /*retain_graph=*/true);
  activations.gradients =
      torch::autograd::grad({activations.value}, parameters_, /*grad_outputs=*/{}, /*retain_graph=*/false,
                            /*create_graph=*/false, /*allow_unused=*/true);
  return gradients;
}

void StepPenalty::AddTo(std::vector<at::Tensor>& gradients, const Model& model, const ActivationPenalty& activations,
                        PenaltyMeasures* measures) const {
  const Penalty penalty = regularizer_.ValueAndGradients(RegularizedLayers(model));
  PRUNELAB_CHECK(penalty.gradients.size() == layer_parameters_.size()) << penalty.gradients.size() << " gradients";
  std::vector<at::Tensor> added = activations.gradients;  // by parameter
  added.resize(gradients.size());
  for (size_t i = 0; i < layer_parameters_.size(); ++i) {
    at::Tensor& sum = added[layer_parameters_[i]];
    if (penalty.gradients[i].defined()) sum = sum.defined() ? sum + penalty.gradients[i] : penalty.gradients[i];
  }
  for (size_t i = 0; i < penalty.shift_gradients.size(); ++i) {
    const at::Tensor& gradient = penalty.shift_gradients[i];
    if (!gradient.defined()) continue;
    at::Tensor& sum = added[*layer_shifts_[i]];
    sum = sum.defined() ? sum + gradient : gradient;
  }
  if (measures != nullptr) *measures = Measure(gradients, added, penalty.value, activations.value);
  if (weight_ == 0) return;
  for (size_t i = 0; i < gradients.size(); ++i) {
    if (added[i].defined()) gradients[i] = Weighted(gradients[i], added[i]);
  }
}

PenaltyMeasures StepPenalty::Measure(const std::vector<at::Tensor>& loss, const std::vector<at::Tensor>& penalty,
                                     const at::Tensor& of_weights, const at::Tensor& of_activations) const {
  double value = 0;
  for (const at::Tensor& part : {of_weights, of_activations}) {
    if (part.defined()) value += part.item<double>();
  }
  const at::Device device = parameters_[0].device();
  const double loss_norm = std::sqrt(SquaredNorm(loss, device).item<double>());
  const double penalty_norm = weight_ * std::sqrt(SquaredNorm(penalty, device).item<double>());
  PenaltyMeasures measures;
  measures.value = weight_ * value;
  measures.gradient_ratio = penalty_norm == 0 ? 0 : penalty_norm / loss_norm;
  return measures;
}

}  // namespace prunelab
