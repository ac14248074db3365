#include "ml/execution/compiled_plan.h"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <atomic>
#include <optional>
#include <tuple>

#include "ml/execution/norm_units.h"
#include "ml/execution/prepared_values.h"

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
  result.results.resize(network.outputs().size());
  for (const CompiledPlan::PlannedStep& planned : plan.steps) {
    const int output = planned.step->output();
    PreparedValues* const prepared = planned.is_constant ? execution.options.prepared : nullptr;
    execution.values[output] =
        prepared == nullptr
            ? planned.step->Run(execution)
            : prepared->Of<Activation>(planned.step->id(), [&] { return planned.step->Run(execution); });
    const at::Tensor& value = execution.values[output].tensor;
    const std::string& name = network.node(output).name();
    const auto own = [&] { return prepared == nullptr ? value : value.clone(); };  // the caller's, who may change it
    if (planned.captured && execution.options.capture.count(name) > 0) result.captured[name] = own();
    if (planned.result >= 0) result.results[planned.result] = own();
    // A value without further consumers is released at once; in training the graph keeps what the backward pass needs.
    for (const int node : planned.last_read) execution.values[node] = Activation();
  }
  for (at::Tensor& value : result.results) {
    // What depends on no image has a batch of one.
    if (network.network().output().empty() || value.size(0) == execution.images.size(0)) continue;
    std::vector<int64_t> sizes = value.sizes().vec();
    sizes[0] = execution.images.size(0);
    value = value.expand(sizes);
  }
  result.logits = result.results[0];
  result.executed_macs = execution.macs;
  return result;
}

}  // namespace

Step::Step(int output, std::vector<int> inputs)
    : id_([] {
        static std::atomic<int64_t> steps = 0;
        return ++steps;
      }()),
      output_(output),
      inputs_(std::move(inputs)) {}

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
  structure.capture.insert(model.info().network().output().begin(), model.info().network().output().end());
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
  depends_on_image_ = DependOnImage(network());
  for (int i = 0; i < network().network().node_size(); ++i) {
    reads_left_.push_back(static_cast<int>(network().users(i).size()));
  }
}

void PlanBuilder::Add(std::unique_ptr<const Step> step) {
  CompiledPlan::PlannedStep planned;
  for (const int node : step->inputs()) {
    if (--reads_left_[node] == 0) planned.last_read.push_back(node);
  }
  const std::vector<int>& outputs = network().outputs();
  const auto place = std::find(outputs.begin(), outputs.end(), step->output());
  if (place != outputs.end()) planned.result = static_cast<int>(place - outputs.begin());
  planned.is_constant = !depends_on_image_[step->output()];
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
  for (at::Tensor& value : result.results) value = value.to(at::kFloat);
  result.logits = result.results[0];
  for (auto& [name, value] : result.captured) value = value.to(at::kFloat);
  return result;
}

}  // namespace prunelab
