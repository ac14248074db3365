#include "ml/training/optimizer.h"

#include <ATen/ATen.h>

#include "ml/base/check.h"

namespace prunelab {

at::Tensor LaidOutAs(const at::Tensor& tensor, const at::Tensor& like) {
  return tensor.strides() == like.strides() ? tensor : at::empty_like(like).copy_(tensor);
}

Optimizer::Optimizer(const std::vector<NamedTensor>& parameters, size_t moments) : moments_(moments) {
  for (const NamedTensor& parameter : parameters) {
    parameters_.push_back(parameter.tensor.detach());
    for (std::vector<at::Tensor>& moment : moments_) moment.push_back(at::zeros_like(parameters_.back()));
  }
  const bool on_device = !parameters_.empty() && !parameters_[0].is_cpu();
  if (on_device) learning_rate_on_device_ = at::zeros({}, parameters_[0].options().dtype(at::kFloat));
}

void Optimizer::set_learning_rate(double learning_rate) {
  if (learning_rate_on_device_.defined() && learning_rate != learning_rate_) {
    learning_rate_on_device_.fill_(learning_rate);
  }
  learning_rate_ = learning_rate;
}

void Optimizer::Step(const std::vector<at::Tensor>& gradients) {
  PRUNELAB_CHECK(gradients.size() == parameters_.size()) << gradients.size() << " gradients";
  // The fused call walks through memory, so a gradient must have the same layout as its parameter.
  std::vector<at::Tensor> laid_out;
  for (size_t i = 0; i < gradients.size(); ++i) {
    laid_out.push_back(LaidOutAs(gradients[i], parameters_[i]));
  }
  StepLaidOut(laid_out);
}

}  // namespace prunelab
