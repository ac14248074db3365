#include "ml/execution/norm_step.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/kernels/batch_norm/fused_batch_norm.h"

namespace prunelab {
namespace {

// FusedBatchNormTraining for autograd. The output is kept for the backward pass only if the gate of the ReLU cannot be
// recomputed from y alone.
struct FusedNorm : torch::autograd::Function<FusedNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& y, const at::Tensor& gamma,
                            const at::Tensor& beta, const std::optional<at::Tensor>& other,
                            const BatchNormTensors& norm, const Rectifier& relu) {
    const at::Tensor addend = other.value_or(at::Tensor());
    FusedBatchNormResult result = FusedBatchNormTraining(norm, y, addend, relu);
    const bool gated = relu.on && addend.defined();
    context->saved_data["relu"] = relu.on;
    context->saved_data["ceiling"] = relu.ceiling;
    context->saved_data["addend"] = addend.defined();
    context->save_for_backward(
        {y, result.scale, result.shift, result.mean, result.inverse, gated ? result.out : at::Tensor()});
    return std::move(result.out);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    FusedBatchNormResult forward;
    forward.scale = saved[1];
    forward.shift = saved[2];
    forward.mean = saved[3];
    forward.inverse = saved[4];
    forward.out = saved[5];
    const Rectifier relu(context->saved_data["relu"].toBool(), context->saved_data["ceiling"].toDouble());
    const FusedBatchNormGradients gradients =
        FusedBatchNormBackward(forward, saved[0], context->saved_data["addend"].toBool(), relu, gradient[0]);
    return {gradients.y, gradients.gamma, gradients.beta, gradients.addend, at::Tensor(), at::Tensor()};
  }
};

class NormUnitStep : public Step {
 public:
  NormUnitStep(const NetworkInfo& network, const NormUnit& unit)
      : Step(unit.output, Inputs(network, unit)),
        name_(network.node(unit.norm).name()),
        norm_(network.node(unit.norm).batch_norm2d()),
        relu_(unit.relu >= 0, unit.ceiling) {}

  Activation Run(Execution& execution) const override {
    const auto tensor = [&](const char* suffix) { return execution.model.Get(absl::StrCat(name_, ".", suffix)); };
    const at::Tensor gamma = tensor("weight"), beta = tensor("bias");
    BatchNormTensors norm;
    norm.gamma = gamma.detach();
    norm.beta = beta.detach();
    norm.running_mean = tensor("running_mean");
    norm.running_var = tensor("running_var");
    norm.num_batches_tracked = tensor("num_batches_tracked");
    norm.epsilon = norm_.epsilon();
    norm.momentum = execution.options.batch_norm_momentum.value_or(norm_.momentum());
    const at::Tensor& y = execution.values[inputs()[0]].tensor;
    std::optional<at::Tensor> addend;
    if (inputs().size() > 1) addend = execution.values[inputs()[1]].tensor;
    Activation result;
    result.tensor = execution.options.mode == Mode::kEvaluate
                        ? FusedBatchNormEvaluation(norm, y, addend.value_or(at::Tensor()), relu_)
                        : FusedNorm::apply(y, gamma, beta, addend, norm, relu_);
    return result;
  }

 private:
  static std::vector<int> Inputs(const NetworkInfo& network, const NormUnit& unit) {
    std::vector<int> inputs = {network.inputs(unit.norm)[0]};
    if (unit.other >= 0) inputs.push_back(unit.other);
    return inputs;
  }

  const std::string name_;
  const BatchNorm2d norm_;
  const Rectifier relu_;
};

}  // namespace

void AddNormStep(PlanBuilder& builder, const NormUnit& unit) {
  builder.Add(std::make_unique<NormUnitStep>(builder.network(), unit));
}

}  // namespace prunelab
