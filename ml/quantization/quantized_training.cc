#include "ml/quantization/quantized_training.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/compression/fold_batch_norm.h"
#include "ml/execution/run_node.h"
#include "ml/execution/straight_through.h"
#include "ml/network/fake_quantize.h"
#include "ml/quantization/network_grids.h"
#include "ml/quantization/ranges.h"

namespace prunelab {
namespace {

enum RangeEntry { kLow, kHigh, kBatches };

// The BN that is folded into node `conv`, a convolution; -1: none. Dropout between them is left out first.
int FoldedNorm(const NetworkInfo& info, int conv) {
  const Node::OpCase op = info.node(conv).op_case();
  if (op != Node::kConv2D && op != Node::kConvTranspose2D) return -1;
  int user = conv;
  do {
    if (info.users(user).size() != 1 || info.IsOutput(user)) return -1;
    user = info.users(user)[0];
  } while (info.node(user).op_case() == Node::kDropout);
  return info.node(user).op_case() == Node::kBatchNorm2D ? user : -1;
}

// What the weights of the convolution are multiplied by when BN is folded: [out], or undefined where none is. A factor
// of 0, of which no weight could be recovered, is 1.
at::Tensor FoldedFactor(const Model& model, int conv) {
  const int norm = FoldedNorm(model.info(), conv);
  if (norm < 0) return {};
  const Node& node = model.info().node(norm);
  const at::Tensor gamma = model.Get(node.name() + ".weight").detach(),
                   variance = model.Get(node.name() + ".running_var").detach();
  const at::Tensor factor = gamma / (variance + node.batch_norm2d().epsilon()).sqrt();
  return at::where(factor == 0, at::ones_like(factor), factor);
}

at::Tensor RoundedWeight(const Model& model, int i, const at::Tensor& weight, const TrainingQuantization& options) {
  const WeightGrids grids = {options.weight_bits, RangeMethod::kMinMax, options.per_channel};
  const at::Tensor factor = FoldedFactor(model, i);
  if (!factor.defined()) return RoundedToLevels(weight, ScalesOf(weight.detach(), grids), options.weight_bits);
  const at::Tensor by_output = factor.view({-1, 1, 1, 1});
  const at::Tensor folded = weight * by_output;
  return RoundedToLevels(folded, ScalesOf(folded.detach(), grids), options.weight_bits) / by_output;
}

void Observe(const at::Tensor& values, double momentum, const ObservedRange& range) {
  const at::NoGradGuard no_gradients;
  const at::Tensor x = values.detach();
  const at::Tensor now = at::stack({x.min().clamp_max(0), x.max().clamp_min(0)}).to(at::kDouble);
  const at::Tensor average = range.narrow(0, 0, 2);
  average.copy_(at::where(range[kBatches] > 0, average + momentum * (now - average), now));
  range[kBatches].add_(1);
}

// The value on the grid of its range, which is GridOf(range, bits), computed without waiting for a device.
at::Tensor OnGrid(const at::Tensor& values, const ObservedRange& range, int64_t bits) {
  FakeQuantize node;
  node.set_bits(bits);
  const double last = static_cast<double>(LastPlace(node));
  at::Tensor scale, zero_point;
  {
    const at::NoGradGuard no_gradients;
    scale = ((range[kHigh] - range[kLow]) / last).to(at::kFloat);
    scale = at::where(scale > 0, scale, at::ones_like(scale));
    zero_point = ((-range[kLow]).to(at::kFloat) / scale).round().clamp(0, last);
  }
  return RoundedToGrid(node, values, scale.to(values.scalar_type()), zero_point.to(values.scalar_type()));
}

using State = QuantizedTrainingPlan::State;

// One node as in the reference plan, but for its weight, and for its value if that is put on a grid.
class QuantizedStep : public Step {
 public:
  QuantizedStep(int node, std::vector<int> inputs, bool overwrite, int64_t macs, std::shared_ptr<const State> state,
                std::optional<ObservedRange> range)
      : Step(node, std::move(inputs)),
        overwrite_(overwrite),
        macs_(macs),
        state_(std::move(state)),
        range_(std::move(range)) {}

  Activation Run(Execution& execution) const override {
    std::vector<at::Tensor> in;
    for (const int i : inputs()) in.push_back(execution.values[i].tensor);
    const bool input_gradient = macs_ > 0 && in[0].requires_grad();
    Activation result;
    result.tensor = Value(execution, in);
    if (macs_ > 0) execution.macs += macs_ * (1 + result.tensor.requires_grad() + input_gradient);
    if (!range_) return result;
    if (execution.options.mode == Mode::kTrain) Observe(result.tensor, state_->options.range_momentum, *range_);
    if (state_->rounding) result.tensor = OnGrid(result.tensor, *range_, state_->options.activation_bits);
    return result;
  }

 private:
  at::Tensor Value(Execution& execution, const std::vector<at::Tensor>& in) const {
    Model& model = execution.model;
    const Node& node = model.info().node(output());
    if (node.op_case() == Node::kImage) return execution.images;
    const auto bias = [&](bool has) { return has ? model.Get(node.name() + ".bias") : at::Tensor(); };
    if (state_->rounding && node.op_case() == Node::kConv2D) {
      const at::Tensor weight =
          RoundedWeight(model, output(), ConvWeight(model, node, execution.options.policy), state_->options);
      return RunConv(node.conv2d(), in[0], weight, bias(node.conv2d().bias()));
    }
    if (state_->rounding && node.op_case() == Node::kLinear) {
      const at::Tensor weight = RoundedWeight(model, output(), model.Get(node.name() + ".weight"), state_->options);
      return at::linear(in[0], weight, bias(node.linear().bias()));
    }
    return RunNode(model, node, in, execution.options, overwrite_);
  }

  const bool overwrite_;
  const int64_t macs_;
  const std::shared_ptr<const State> state_;
  const std::optional<ObservedRange> range_;
};

}  // namespace

QuantizedTrainingPlan::QuantizedTrainingPlan(const Model& model, const TrainingQuantization& options)
    : state_(std::make_shared<State>()) {
  state_->options = options;
  const NetworkInfo& trained = model.info();
  // Which values lie on grids follows from the nodes alone; the weights do not matter here.
  WeightedNetwork folded;
  folded.network = trained.network();
  for (const ParameterSpec& spec : trained.parameters()) folded.tensors[spec.name] = at::ones(spec.shape);
  FoldBatchNormAfterConvolutions(folded);
  MakeConvolutions(folded);
  const NetworkInfo info = folded.Info();
  const std::vector<bool> wanted = NodesForGrids(info);
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (!wanted[i]) continue;
    const std::string& name = info.node(i).name();
    const int norm = FoldedNorm(trained, trained.Index(name));
    const std::string& observed = norm < 0 ? name : trained.node(norm).name();
    observed_nodes_[name] = observed;
    state_->ranges[observed] = at::zeros({3}, at::TensorOptions(model.device()).dtype(at::kDouble));
  }
}

CompiledPlan QuantizedTrainingPlan::Compile(PlanStructure structure) const {
  PlanBuilder builder(std::move(structure));
  const NetworkInfo& network = builder.network();
  for (int i = 0; i < network.network().node_size(); ++i) {
    const auto range = state_->ranges.find(network.node(i).name());
    const bool has_range = range != state_->ranges.end();
    const bool image = network.node(i).op_case() == Node::kImage;
    // Rounding keeps what it rounds for its backward pass.
    const bool overwrite = !image && MayOverwrite(network, i, builder.structure().capture) &&
                           state_->ranges.count(network.node(network.inputs(i)[0]).name()) == 0;
    builder.Add(
        std::make_unique<QuantizedStep>(i, network.inputs(i), overwrite, image ? 0 : network.MacCount(i), state_,
                                        has_range ? std::optional<ObservedRange>(range->second) : std::nullopt));
  }
  return std::move(builder).Build();
}

absl::StatusOr<WeightedNetwork> QuantizedTrainingPlan::Quantized(const Model& model) const {
  PRUNELAB_ASSIGN_OR_RETURN(WeightedNetwork network, ToWeightedNetwork(model));
  for (auto& [name, tensor] : network.tensors) tensor = tensor.clone();
  FoldBatchNormAfterConvolutions(network);
  MakeConvolutions(network);
  std::map<std::string, Grid> grids;
  for (const auto& [node, observed] : observed_nodes_) {
    const at::Tensor range = state_->ranges.at(observed).to(at::kCPU);
    if (range[kBatches].item<double>() == 0) {
      return absl::FailedPreconditionError(absl::StrCat("no batch has shown the range of node \"", observed, "\""));
    }
    grids[node] = GridOf({range[kLow].item<double>(), range[kHigh].item<double>()}, state_->options.activation_bits);
  }
  InsertGrids(network, grids, state_->options.activation_bits);
  QuantizeWeights(network, {state_->options.weight_bits, RangeMethod::kMinMax, state_->options.per_channel});
  return network;
}

}  // namespace prunelab
