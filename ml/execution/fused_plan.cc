#include "ml/execution/fused_plan.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/execution/node_step.h"
#include "ml/execution/norm_units.h"
#include "ml/execution/run_node.h"
#include "ml/kernels/batch_norm/fused_batch_norm.h"
#include "ml/kernels/device_conv3x3/weight_gradient.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

// FusedBatchNormTraining for autograd. The output is kept for the backward pass only if the gate of the ReLU cannot be
// recomputed from y alone.
struct FusedNorm : torch::autograd::Function<FusedNorm> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& y, const at::Tensor& gamma,
                            const at::Tensor& beta, const std::optional<at::Tensor>& other,
                            const BatchNormTensors& norm, bool relu) {
    const at::Tensor addend = other.value_or(at::Tensor());
    FusedBatchNormResult result = FusedBatchNormTraining(norm, y, addend, relu);
    const bool gated = relu && addend.defined();
    context->saved_data["relu"] = relu;
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
    const FusedBatchNormGradients gradients = FusedBatchNormBackward(
        forward, saved[0], context->saved_data["addend"].toBool(), context->saved_data["relu"].toBool(), gradient[0]);
    return {gradients.y, gradients.gamma, gradients.beta, gradients.addend, at::Tensor(), at::Tensor()};
  }
};

// A 3x3 convolution with stride and padding 1 for autograd, whose weight gradient is computed apart from the input's.
struct Conv3x3Function : torch::autograd::Function<Conv3x3Function> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const at::Tensor& weight) {
    context->save_for_backward({x, weight});
    return at::conv2d(x, weight, {}, 1, 1);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradient) {
    const torch::autograd::variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const at::Tensor dy = gradient[0].contiguous(at::MemoryFormat::ChannelsLast);
    at::Tensor dx, dweight;
    if (context->needs_input_grad(0)) {
      dx = std::get<0>(at::convolution_backward(dy, x, weight, at::OptionalIntArrayRef(), {1, 1}, {1, 1}, {1, 1},
                                                /*transposed=*/false, {0, 0}, /*groups=*/1, {true, false, false}));
    }
    if (context->needs_input_grad(1)) {
      dweight = Conv3x3WeightGradient(x.contiguous(at::MemoryFormat::ChannelsLast), dy);
    }
    return {dx, dweight};
  }
};

// Whether Conv3x3Function computes such a convolution.
bool IsConv3x3(const Conv2d& conv) { return IsPlain3x3(WindowOf(conv)) && conv.groups() == 1 && !conv.bias(); }

class Conv3x3Step : public Step {
 public:
  Conv3x3Step(const NetworkInfo& network, int node) : Step(node, network.inputs(node)), macs_(network.MacCount(node)) {}

  Activation Run(Execution& execution) const override {
    const at::Tensor& x = execution.values[inputs()[0]].tensor;
    const at::Tensor weight =
        ConvWeight(execution.model, execution.model.info().node(output()), execution.options.policy);
    Activation result;
    result.tensor = Conv3x3Function::apply(x, weight);
    execution.macs += macs_ * (1 + result.tensor.requires_grad() + x.requires_grad());
    return result;
  }

 private:
  const int64_t macs_;  // of the forward pass, for one image
};

// A unit of batch normalization (norm_units.h).
class NormUnitStep : public Step {
 public:
  NormUnitStep(const NetworkInfo& network, const NormUnit& unit)
      : Step(unit.output, Inputs(network, unit)),
        name_(network.node(unit.norm).name()),
        norm_(network.node(unit.norm).batch_norm2d()),
        relu_(unit.relu >= 0) {}

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
  const bool relu_;
};

}  // namespace

CompiledPlan FusedPlan::Compile(PlanStructure structure) const {
  const bool supported_type = structure.dtype == at::kFloat || structure.dtype == at::kDouble;
  if (!supported_type || (structure.mode == Mode::kEvaluate && structure.gradients)) {
    return ReferencePlan().Compile(std::move(structure));
  }
  PlanBuilder builder(std::move(structure));
  const NetworkInfo& network = builder.network();
  const int size = network.network().node_size();
  const std::vector<NormUnit> units = FindNormUnits(network, builder.structure().capture, [](int) { return true; });
  std::vector<const NormUnit*> unit_at(size, nullptr);  // by the unit's output
  std::vector<bool> inside(size, false);
  for (const NormUnit& unit : units) {
    for (const int i : {unit.norm, unit.add, unit.relu}) {
      if (i >= 0) inside[i] = i != unit.output;
    }
    unit_at[unit.output] = &unit;
  }
  for (int i = 0; i < size; ++i) {
    if (inside[i]) continue;
    if (unit_at[i] != nullptr) {
      builder.Add(std::make_unique<NormUnitStep>(network, *unit_at[i]));
    } else if (builder.structure().mode == Mode::kTrain && network.node(i).has_conv2d() &&
               IsConv3x3(network.node(i).conv2d())) {
      builder.Add(std::make_unique<Conv3x3Step>(network, i));
    } else {
      AddNodeStep(builder, i);
    }
  }
  return std::move(builder).Build();
}

}  // namespace prunelab
