#include "ml/training/averaged_network.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include "absl/strings/str_cat.h"

namespace prunelab {

AveragedNetwork::AveragedNetwork(const Model& model, double decay)
    : model_(model), decay_(decay), network_(Model::Create(model.info(), model.dtype(), model.device())) {
  for (const NamedTensor& parameter : model.parameters()) {
    parameters_.push_back(parameter.tensor.detach());
    averages_.push_back(at::zeros_like(parameters_.back()));
  }
  Update();
}

void AveragedNetwork::AddStep() {
  if (started_) {
    at::_foreach_lerp_(averages_, parameters_, 1 - decay_);
  } else {
    for (size_t i = 0; i < averages_.size(); ++i) averages_[i].copy_(parameters_[i]);
  }
  started_ = true;
}

void AveragedNetwork::Update() {
  const at::NoGradGuard no_gradients;
  network_.SetMasks(model_.masks());
  for (size_t i = 0; i < averages_.size(); ++i) {
    const NamedTensor& parameter = network_.parameters()[i];
    parameter.tensor.copy_(started_ ? averages_[i] : parameters_[i]);
    const auto mask = network_.masks().find(parameter.node);
    const bool masked = mask != network_.masks().end() && parameter.name == absl::StrCat(parameter.node, ".weight");
    if (masked) parameter.tensor.mul_(mask->second);
  }
  for (size_t i = 0; i < model_.buffers().size(); ++i) {
    network_.buffers()[i].tensor.copy_(model_.buffers()[i].tensor);
  }
}

}  // namespace prunelab
