#include "ml/execution/fused_plan.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <tuple>
#include <utility>
#include <vector>

#include "ml/execution/node_step.h"
#include "ml/execution/norm_step.h"
#include "ml/execution/norm_units.h"
#include "ml/execution/run_node.h"
#include "ml/kernels/device_conv3x3/weight_gradient.h"
#include "ml/network/window.h"

namespace prunelab {
namespace {

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

}  // namespace

CompiledPlan FusedPlan::Compile(PlanStructure structure) const {
  const bool supported_type = structure.dtype == at::kFloat || structure.dtype == at::kDouble;
  if (!supported_type || (structure.mode == Mode::kEvaluate && structure.gradients)) {
    return ReferencePlan().Compile(std::move(structure));
  }
  PlanBuilder builder(std::move(structure));
  const NetworkInfo& network = builder.network();
  const int size = network.network().node_size();
  const std::vector<NormUnit> units = FindNormUnits(network, builder.structure().capture,
                                                    /*ceilings=*/false, [](int) { return true; });
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
      AddNormStep(builder, *unit_at[i]);
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
