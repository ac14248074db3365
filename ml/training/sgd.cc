#include "ml/training/sgd.h"

#include <ATen/ATen.h>

#include "ml/base/check.h"

namespace prunelab {

at::Tensor LaidOutAs(const at::Tensor& tensor, const at::Tensor& like) {
  return tensor.strides() == like.strides() ? tensor : at::empty_like(like).copy_(tensor);
}

SgdOptimizer::SgdOptimizer(const std::vector<NamedTensor>& parameters, SgdOptions options) : options_(options) {
  for (const NamedTensor& parameter : parameters) {
    parameters_.push_back(parameter.tensor.detach());
    if (options_.momentum != 0) momentum_.push_back(at::zeros_like(parameters_.back()));
  }
  const bool on_device = !parameters_.empty() && !parameters_[0].is_cpu();
  if (on_device) learning_rate_on_device_ = at::zeros({}, parameters_[0].options().dtype(at::kFloat));
}

void SgdOptimizer::set_learning_rate(double learning_rate) {
  if (learning_rate_on_device_.defined() && learning_rate != learning_rate_) {
    learning_rate_on_device_.fill_(learning_rate);
  }
  learning_rate_ = learning_rate;
}

void SgdOptimizer::Step(const std::vector<at::Tensor>& gradients) {
  PRUNELAB_CHECK(gradients.size() == parameters_.size()) << gradients.size() << " gradients";
  // The fused call walks through memory, so a gradient must have the same layout as its parameter.
  std::vector<at::Tensor> laid_out;
  for (size_t i = 0; i < gradients.size(); ++i) {
    laid_out.push_back(LaidOutAs(gradients[i], parameters_[i]));
  }
  const auto step = [&](const auto& learning_rate) {
    at::_fused_sgd_(parameters_, laid_out, momentum_, options_.weight_decay, options_.momentum, learning_rate,
                    options_.dampening, options_.nesterov, /*maximize=*/false, /*is_first_step=*/!started_);
  };
  if (learning_rate_on_device_.defined()) {
    step(learning_rate_on_device_);
  } else {
    step(learning_rate_);
  }
  started_ = true;
}

}  // namespace prunelab
