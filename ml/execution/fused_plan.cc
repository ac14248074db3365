#include "ml/execution/fused_plan.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/execution/norm_units.h"
#include "ml/execution/run_node.h"
#include "ml/kernels/batch_norm/fused_batch_norm.h"

namespace prunelab {
namespace {

// FusedBatchNormTraining for autograd. Of what backward reads, the output is kept only where the gate of the ReLU
// cannot be computed again from y alone.
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

at::Tensor RunNormUnit(Model& model, const NormUnit& unit, const at::Tensor& y, const at::Tensor& addend,
                       const ForwardOptions& options) {
  const Node& node = model.info().node(unit.norm);
  const auto tensor = [&](const char* suffix) { return model.Get(absl::StrCat(node.name(), ".", suffix)); };
  const at::Tensor gamma = tensor("weight"), beta = tensor("bias");
  BatchNormTensors norm;
  norm.gamma = gamma.detach();
  norm.beta = beta.detach();
  norm.running_mean = tensor("running_mean");
  norm.running_var = tensor("running_var");
  norm.num_batches_tracked = tensor("num_batches_tracked");
  norm.epsilon = node.batch_norm2d().epsilon();
  norm.momentum = options.batch_norm_momentum.value_or(node.batch_norm2d().momentum());
  const bool relu = unit.relu >= 0;
  if (options.mode == Mode::kEvaluate) return FusedBatchNormEvaluation(norm, y, addend, relu);
  return FusedNorm::apply(y, gamma, beta, addend.defined() ? std::make_optional(addend) : std::nullopt, norm, relu);
}

}  // namespace

ForwardResult FusedPlan::Forward(Model& model, const at::Tensor& images, const ForwardOptions& options) {
  const bool supported_type = model.dtype() == at::kFloat || model.dtype() == at::kDouble;
  if (!supported_type || (options.mode == Mode::kEvaluate && at::GradMode::is_enabled())) {
    return ReferencePlan().Forward(model, images, options);
  }
  const NetworkInfo& info = model.info();
  const int size = info.network().node_size();
  const std::vector<NormUnit> units = FindNormUnits(info, options.capture, [](int) { return true; });
  std::vector<const NormUnit*> unit_at(size, nullptr);  // by the unit's output
  std::vector<bool> inside(size, false);
  for (const NormUnit& unit : units) {
    for (const int i : {unit.norm, unit.add, unit.relu}) {
      if (i >= 0) inside[i] = i != unit.output;
    }
    unit_at[unit.output] = &unit;
  }
  ForwardResult result;
  std::vector<at::Tensor> outputs(size);
  std::vector<int> users_left(size);
  for (int i = 0; i < size; ++i) users_left[i] = static_cast<int>(info.users(i).size());
  for (int i = 0; i < size; ++i) {
    if (inside[i]) continue;
    std::vector<int> inputs = info.inputs(i);
    if (const NormUnit* unit = unit_at[i]) {
      inputs = {info.inputs(unit->norm)[0]};
      if (unit->other >= 0) inputs.push_back(unit->other);
      outputs[i] = RunNormUnit(model, *unit, outputs[inputs[0]], unit->other >= 0 ? outputs[unit->other] : at::Tensor(),
                               options);
    } else if (info.node(i).op_case() == Node::kImage) {
      outputs[i] = images;
    } else {
      std::vector<at::Tensor> in;
      for (const int j : inputs) in.push_back(outputs[j]);
      outputs[i] = RunNode(model, info.node(i), in, options, MayOverwrite(info, i, options));
    }
    if (options.capture.count(info.node(i).name())) result.captured[info.node(i).name()] = outputs[i];
    for (const int j : inputs) {
      if (--users_left[j] == 0) outputs[j] = at::Tensor();
    }
  }
  result.logits = outputs[size - 1];
  result.executed_macs = result.logits.requires_grad() ? DenseTrainingMacs(info) : info.MacCount();
  return result;
}

}  // namespace prunelab
