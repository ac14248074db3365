#include "ml/training/sgd.h"

#include <ATen/ATen.h>

namespace prunelab {

SgdOptimizer::SgdOptimizer(const std::vector<NamedTensor>& parameters, SgdOptions options)
    : Optimizer(parameters, /*moments=*/options.momentum != 0 ? 1 : 0), options_(options) {}

void SgdOptimizer::StepLaidOut(const std::vector<at::Tensor>& gradients) {
  const std::vector<at::Tensor> momentum = moments().empty() ? std::vector<at::Tensor>() : moments()[0];
  WithLearningRate([&](const auto& learning_rate) {
    at::_fused_sgd_(parameters(), gradients, momentum, options_.weight_decay, options_.momentum, learning_rate,
                    options_.dampening, options_.nesterov, /*maximize=*/false, /*is_first_step=*/!started_);
  });
  started_ = true;
}

}  // namespace prunelab
