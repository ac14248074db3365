#include "ml/execution/compiled_plan.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <tuple>

namespace prunelab {
namespace {

// Turns on autocast to bfloat16 in this thread while the object lives.
class Autocast {
 public:
  explicit Autocast(at::DeviceType device)
      : device_(device),
        enabled_(at::autocast::is_autocast_enabled(device)),
        cached_(at::autocast::is_autocast_cache_enabled()),
        dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device, true);
    at::autocast::set_autocast_dtype(device, at::kBFloat16);
    // A pass reads each weight once, so a cache would only keep the rounded copies alive.
    at::autocast::set_autocast_cache_enabled(false);
  }
  ~Autocast() {
    at::autocast::set_autocast_cache_enabled(cached_);
    at::autocast::set_autocast_dtype(device_, dtype_);
    at::autocast::set_autocast_enabled(device_, enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  const at::DeviceType device_;
  const bool enabled_, cached_;
  const at::ScalarType dtype_;
};

ForwardResult RunSteps(const CompiledPlan& plan, Execution& execution) {
  const NetworkInfo& network = *plan.structure.network;
  ForwardResult result;
  for (const CompiledPlan::PlannedStep& planned : plan.steps) {
    const int output = planned.step->output();
    execution.values[output] = planned.step->Run(execution);
    if (planned.captured) result.captured[network.node(output).name()] = execution.values[output].tensor;
    // A value without further consumers is released at once; in training the graph keeps what the backward pass needs.
    for (const int node : planned.last_read) execution.values[node] = Activation();
  }
  result.logits = execution.values.back().tensor;
  result.executed_macs = execution.macs;
  return result;
}

}  // namespace

PlanStructure PlanStructure::Of(const Model& model, const at::Tensor& images, const ForwardOptions& options) {
  PlanStructure structure;
  structure.network = model.shared_info();
  structure.dtype = model.dtype();
  structure.device = model.device().type();
  structure.image = images.sizes().slice(1).vec();
  structure.mode = options.mode;
  structure.policy = options.policy;
  structure.gradients = at::GradMode::is_enabled();
  structure.capture = options.capture;
  structure.masks.assign(model.info().network().node_size(), Mask::kNone);
  for (const auto& [node, mask] : model.masks()) {
    structure.masks[model.info().Index(node)] = mask.numel() == mask.size(0) ? Mask::kFilters : Mask::kWeights;
  }
  return structure;
}

bool PlanStructure::operator==(const PlanStructure& other) const {
  const auto all = [](const PlanStructure& s) {
    return std::tie(s.network, s.dtype, s.device, s.image, s.mode, s.policy, s.gradients, s.capture, s.masks);
  };
  return all(*this) == all(other);
}

PlanBuilder::PlanBuilder(PlanStructure structure) {
  plan_.structure = std::move(structure);
  for (int i = 0; i < network().network().node_size(); ++i) {
    reads_left_.push_back(static_cast<int>(network().users(i).size()));
  }
}

void PlanBuilder::Add(std::unique_ptr<const Step> step) {
  CompiledPlan::PlannedStep planned;
  for (const int node : step->inputs()) {
    if (--reads_left_[node] == 0) planned.last_read.push_back(node);
  }
  planned.captured = structure().capture.count(network().node(step->output()).name()) > 0;
  planned.step = std::move(step);
  plan_.steps.push_back(std::move(planned));
}

ForwardResult Execute(const CompiledPlan& plan, Model& model, const at::Tensor& images, const ForwardOptions& options) {
  Execution execution{model, images, options, std::vector<Activation>(model.info().network().node_size())};
  if (!plan.bfloat16) return RunSteps(plan, execution);
  ForwardResult result = [&] {
    const Autocast autocast(model.device().type());
    return RunSteps(plan, execution);
  }();
  result.logits = result.logits.to(at::kFloat);
  for (auto& [name, value] : result.captured) value = value.to(at::kFloat);
  return result;
}

}  // namespace prunelab
