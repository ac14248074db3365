#include "ml/training/adamw.h"

#include <ATen/ATen.h>

namespace prunelab {

AdamWOptimizer::AdamWOptimizer(const std::vector<NamedTensor>& parameters, AdamWOptions options)
    : Optimizer(parameters, /*moments=*/2), options_(options) {
  const at::Device device = parameters.empty() ? at::Device(at::kCPU) : parameters[0].tensor.device();
  steps_ = at::zeros({}, at::TensorOptions(device).dtype(at::kFloat));
  steps_of_each_.assign(parameters.size(), steps_);
}

int64_t AdamWOptimizer::steps() const { return static_cast<int64_t>(steps_.item<float>()); }

void AdamWOptimizer::set_steps(int64_t steps) { steps_.fill_(steps); }

void AdamWOptimizer::StepLaidOut(const std::vector<at::Tensor>& gradients) {
  steps_ += 1;
  WithLearningRate([&](const auto& learning_rate) {
    at::_fused_adamw_(parameters(), gradients, moments()[0], moments()[1], /*max_exp_avg_sqs=*/{}, steps_of_each_,
                      learning_rate, options_.beta1, options_.beta2, options_.weight_decay, options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  });
}

}  // namespace prunelab
