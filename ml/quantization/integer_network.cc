#include "ml/quantization/integer_network.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"
#include "ml/compression/compressed_model.h"
#include "ml/execution/run_node.h"
#include "ml/network/elementwise.h"
#include "ml/network/fake_quantize.h"
#include "ml/network/node_checks.h"
#include "ml/network/operator.h"
#include "ml/network/value_grids.h"
#include "ml/quantization/ranges.h"

namespace prunelab {
namespace {

// Of a layer: the sum of products and bias stay below this.
constexpr double kAccumulatorBound = 2147483648.0;

at::Tensor AsMap(const at::Tensor& x) { return x.dim() == 4 ? x : x.unsqueeze(2).unsqueeze(3); }

Window WindowOfLayer(const Node& node) { return node.has_conv2d() ? WindowOf(node.conv2d()) : Window(); }

// In float32, as the plans round.
at::Tensor PlacesOf(const FakeQuantize& rounding, const Grid& grid, const at::Tensor& values) {
  return GridPlaces(rounding, values.to(at::kFloat), at::scalar_tensor(grid.scale, at::kFloat),
                    at::scalar_tensor(grid.zero_point, at::kFloat))
      .to(at::kByte);
}

}  // namespace

class IntegerNetworkBuilder {
 public:
  explicit IntegerNetworkBuilder(const WeightedNetwork& network)
      : network_(network),
        model_(std::make_shared<Model>(ToModel(InFloat32(network), at::kCPU))),
        info_(model_->info()),
        grids_(ValueGrids(info_)),
        integers_(model_) {}

  absl::StatusOr<IntegerNetwork> Build() {
    for (int i = 0; i < info_.network().node_size(); ++i) PRUNELAB_RETURN_IF_ERROR(Add(i));
    for (const int output : info_.outputs()) {
      if (grids_[output] >= 0) integers_.output_grids_[output] = GridAt(grids_[output]);
    }
    FindLastReads();
    return std::move(integers_);
  }

 private:
  static WeightedNetwork InFloat32(WeightedNetwork network) {
    for (auto& [name, tensor] : network.tensors) {
      if (tensor.is_floating_point()) tensor = tensor.to(at::kFloat);
    }
    return network;
  }

  absl::Status Refuse(int i, const std::string& why) const { return NodeError(info_.node(i), why); }

  Grid GridAt(int fake_quantize) const {
    const std::string& name = info_.node(fake_quantize).name();
    return {network_.Get(name, "scale").item<float>(), network_.Get(name, "zero_point").to(at::kLong).item<int64_t>()};
  }
  Grid GridOfInput(int i, size_t k = 0) const { return GridAt(grids_[info_.inputs(i)[k]]); }

  absl::Status Add(int i) {
    const Node& node = info_.node(i);
    if (node.op_case() == Node::kFakeQuantize) return AddRounded(i);
    if (grids_[i] >= 0) return AddMoved(i);
    if (HasWeights(node) && info_.IsOutput(i) && info_.users(i).empty()) return AddAccumulators(i);
    // What is read once, by a quantize node or by a clip before one, is computed with that.
    const bool read_once = info_.users(i).size() == 1 && !info_.IsOutput(i);
    const Node* reader = read_once ? &info_.node(info_.users(i)[0]) : nullptr;
    if (reader == nullptr || !(reader->has_fake_quantize() || (IsClip(*reader) && grids_[info_.users(i)[0]] < 0))) {
      return Refuse(i, "its result is not put on a grid by a quantize node that alone reads it");
    }
    return absl::OkStatus();
  }

  // A node that moves values about does the same with whole numbers.
  absl::Status AddMoved(int i) {
    Append(i, info_.inputs(i), MovedPlaces{GridAt(grids_[i]).zero_point});
    return absl::OkStatus();
  }

  absl::Status AddAccumulators(int i) {
    PRUNELAB_ASSIGN_OR_RETURN(const IntegerConv conv, LayerOf(i, /*scale=*/0));
    Append(i, info_.inputs(i), AccumulatedConv{conv});
    return absl::OkStatus();
  }

  // A quantize node with the operator before it, and the clip between them if there is one.
  absl::Status AddRounded(int i) {
    int op = info_.inputs(i)[0];
    const Node& node = info_.node(i);
    const Grid grid = GridAt(i);
    ResultGrid result = {grid.zero_point, 0, LastPlace(node.fake_quantize())};
    if (grid.zero_point > result.last) {
      return Refuse(i, absl::StrCat("zero_point is ", grid.zero_point, "; must be at most ", result.last));
    }
    if (info_.node(op).op_case() == Node::kImage) {
      Append(i, {}, PlacedImages{node.fake_quantize(), grid});
      return absl::OkStatus();
    }
    if (IsClip(info_.node(op)) && grids_[info_.inputs(op)[0]] < 0) {
      const Node& clip = info_.node(op);
      const bool relu = clip.op_case() == Node::kRelu;
      const auto place = [&](double value) {
        return PlacesOf(node.fake_quantize(), grid, at::scalar_tensor(value, at::kFloat)).item<int64_t>();
      };
      result.first = relu ? grid.zero_point : place(clip.elementwise().low());
      if (!relu) result.last = place(clip.elementwise().high());
      op = info_.inputs(op)[0];
    }
    for (const int input : info_.inputs(op)) {
      if (grids_[input] < 0) {
        return Refuse(op, absl::StrCat("reads \"", info_.node(input).name(), "\", whose values lie on no grid"));
      }
    }
    PRUNELAB_ASSIGN_OR_RETURN(IntegerOperation operation, OperationOf(op, node.fake_quantize(), grid, result));
    Append(i, info_.inputs(op), std::move(operation));
    return absl::OkStatus();
  }

  // What computes operator `op` on a grid.
  absl::StatusOr<IntegerOperation> OperationOf(int op, const FakeQuantize& rounding, const Grid& grid,
                                               const ResultGrid& result) {
    const Node& node = info_.node(op);
    const NodeShape &shape = info_.shape(op), &in = info_.inputs(op).empty() ? shape : info_.shape(info_.inputs(op)[0]);
    switch (node.op_case()) {
      case Node::kConv2D:
      case Node::kLinear: {
        PRUNELAB_ASSIGN_OR_RETURN(IntegerConv conv, LayerOf(op, grid.scale));
        conv.result = result;
        return conv;
      }
      case Node::kAdd:
      case Node::kArithmetic:
        if (node.arithmetic().function() == Arithmetic::MULTIPLY) return ProductOf(op, grid, result);
        if (!HasIntegerForm(node)) break;
        return SumOf(op, grid, result);
      case Node::kConcat: {
        const auto [zero_points, factors] = InputFactors(op, grid);
        PRUNELAB_RETURN_IF_ERROR(CheckFactors(op, factors));
        return IntegerConcat{zero_points, RescalingOf(factors), result};
      }
      case Node::kElementwise:
      case Node::kRelu:
        return TableOf(op, rounding, grid, result);
      case Node::kAveragePool2D: {
        const Window window = WindowOf(node.average_pool2d());
        const bool padding = node.average_pool2d().count_include_pad();
        return PoolOf(op, PooledRows(window.down, in.height, padding), PooledRows(window.across, in.width, padding),
                      grid, result);
      }
      case Node::kGlobalAveragePool:
      case Node::kAdaptivePool2D:
        return PoolOf(op, AdaptivePooledRows(in.height, shape.height), AdaptivePooledRows(in.width, shape.width), grid,
                      result);
      case Node::kConstant:
        return StoredPlaces{PlacesOf(rounding, grid, RunNode(*model_, node, {}, {}, /*overwrite=*/false))};
      default:
        break;
    }
    return Refuse(op,
                  absl::StrCat("has no integer form (", info_.op(op).Name(), "); run this network in floating point"));
  }

  absl::StatusOr<IntegerOperation> SumOf(int op, const Grid& grid, const ResultGrid& result) {
    const auto [zero_points, factors] = InputFactors(op, grid);
    PRUNELAB_RETURN_IF_ERROR(CheckFactors(op, factors, LargestJointFactor(factors.numel())));
    IntegerSum sum = {zero_points, JointRescalingOf(factors), result};
    if (info_.node(op).op_case() == Node::kArithmetic) sum.rescaling.multiplier[1].neg_();
    return sum;
  }

  absl::StatusOr<IntegerOperation> ProductOf(int op, const Grid& grid, const ResultGrid& result) {
    const Grid a = GridOfInput(op, 0), b = GridOfInput(op, 1);
    const at::Tensor factor =
        at::scalar_tensor(static_cast<double>(a.scale) * b.scale / static_cast<double>(grid.scale), at::kDouble);
    PRUNELAB_RETURN_IF_ERROR(CheckFactors(op, factor));
    return IntegerProduct{{a.zero_point, b.zero_point}, RescalingOf(factor), result};
  }

  absl::StatusOr<IntegerOperation> TableOf(int op, const FakeQuantize& rounding, const Grid& grid,
                                           const ResultGrid& result) {
    const Grid in = GridOfInput(op);
    const Node& node = info_.node(op);
    const at::Tensor x = (at::arange(256, at::kDouble) - static_cast<double>(in.zero_point)) * in.scale;
    const at::Tensor values = node.has_relu() ? at::relu(x) : ApplyElementwise(node.elementwise(), x);
    const at::Tensor places = GridPlaces(rounding, values, at::scalar_tensor(grid.scale, at::kDouble),
                                         at::scalar_tensor(grid.zero_point, at::kDouble));
    return IntegerTable{places.clamp(result.first, result.last).to(at::kByte)};
  }

  absl::StatusOr<IntegerOperation> PoolOf(int op, std::vector<PooledRow> rows, std::vector<PooledRow> columns,
                                          const Grid& grid, const ResultGrid& result) {
    const Grid in = GridOfInput(op);
    std::vector<double> factors;
    for (const PooledRow& row : rows) {
      for (const PooledRow& column : columns) {
        factors.push_back(static_cast<double>(in.scale) /
                          (static_cast<double>(grid.scale) * static_cast<double>(row.length * column.length)));
      }
    }
    const at::Tensor by_place = at::tensor(factors, at::kDouble)
                                    .view({static_cast<int64_t>(rows.size()), static_cast<int64_t>(columns.size())});
    PRUNELAB_RETURN_IF_ERROR(CheckFactors(op, by_place));
    return IntegerAveragePool{std::move(rows), std::move(columns), in.zero_point, RescalingOf(by_place), result};
  }

  // The zero points of the inputs, and their scales over that of the result.
  std::pair<std::vector<int64_t>, at::Tensor> InputFactors(int op, const Grid& grid) const {
    std::vector<int64_t> zero_points;
    std::vector<double> factors;
    for (size_t k = 0; k < info_.inputs(op).size(); ++k) {
      const Grid in = GridOfInput(op, k);
      zero_points.push_back(in.zero_point);
      factors.push_back(static_cast<double>(in.scale) / static_cast<double>(grid.scale));
    }
    return {zero_points, at::tensor(factors, at::kDouble)};
  }

  // Scales of a file may say anything; those that follow from values of a network never differ so much.
  absl::Status CheckFactors(int op, const at::Tensor& factors, double bound = 1 << 29) const {
    const double largest = factors.max().item<double>();
    if (largest < bound) return absl::OkStatus();
    return Refuse(
        op, absl::StrCat("the scale of its input is ", largest, " times that of its result; must be below ", bound));
  }

  // The layer at node i. `scale`: of the result's grid; 0: the accumulators are the result.
  absl::StatusOr<IntegerConv> LayerOf(int i, double scale) const {
    const Node& node = info_.node(i);
    if (grids_[info_.inputs(i)[0]] < 0) {
      return Refuse(i,
                    absl::StrCat("reads \"", info_.node(info_.inputs(i)[0]).name(), "\", whose values lie on no grid"));
    }
    const int64_t bits = node.has_conv2d() ? node.conv2d().weight_bits() : node.linear().weight_bits();
    if (bits == 0) return Refuse(i, "its weights are not quantized (weight_bits is unset)");
    const Grid in = GridOfInput(i);
    const at::Tensor weight = network_.Get(node.name(), "weight"), scales = network_.Get(node.name(), "weight_scale");
    IntegerConv conv;
    conv.levels = WeightLevels(weight, scales, bits);
    const at::Tensor distance = (WeightsOfLevels(conv.levels, scales) - weight.to(at::kFloat)).flatten(1).abs().amax(1);
    constexpr double kTolerance = 1e-3;
    const at::Tensor off = (distance > kTolerance * scales.to(at::kFloat)).nonzero();
    if (off.size(0) > 0) {
      return Refuse(
          i, absl::StrCat("weights of output channel ", off[0][0].item<int64_t>(),
                          " are no whole multiples of its weight_scale, at most ", LargestLevel(bits), " of it"));
    }
    if (node.has_linear()) conv.levels = conv.levels.unsqueeze(2).unsqueeze(3);
    conv.window = WindowOfLayer(node);
    conv.groups = node.has_conv2d() ? node.conv2d().groups() : 1;
    conv.zero_point = in.zero_point;
    conv.step = scales.to(at::kDouble) * static_cast<double>(in.scale);
    conv.bias = at::zeros({conv.levels.size(0)}, at::kLong);
    if (network_.Has(node.name(), "bias")) {
      conv.bias = (network_.Get(node.name(), "bias").to(at::kDouble) / conv.step).round().to(at::kLong);
    }
    const at::Tensor bound =
        conv.levels.to(at::kDouble).abs().flatten(1).sum(1) * 255 + conv.bias.to(at::kDouble).abs();
    if (bound.max().item<double>() >= kAccumulatorBound) {
      return Refuse(i, "its sums may not fit into 32 bits");
    }
    if (scale > 0) {
      const at::Tensor factors = (conv.step / scale).view({-1, 1, 1});
      PRUNELAB_RETURN_IF_ERROR(CheckFactors(i, factors));
      conv.rescaling = RescalingOf(factors);
    }
    return conv;
  }

  void Append(int node, std::vector<int> inputs, IntegerOperation operation) {
    integers_.steps_.push_back({node, std::move(inputs), std::move(operation), {}});
  }

  void FindLastReads() {
    std::map<int, size_t> last;
    for (size_t s = 0; s < integers_.steps_.size(); ++s) {
      for (const int input : integers_.steps_[s].inputs) last[input] = s;
    }
    for (const auto& [node, step] : last) {
      if (!info_.IsOutput(node)) integers_.steps_[step].last_read.push_back(node);
    }
  }

  const WeightedNetwork& network_;
  const std::shared_ptr<Model> model_;
  const NetworkInfo info_;
  const std::vector<int> grids_;
  IntegerNetwork integers_;
};

absl::StatusOr<IntegerNetwork> IntegerNetwork::Create(const WeightedNetwork& network) {
  return IntegerNetworkBuilder(network).Build();
}

at::Tensor IntegerNetwork::RunStep(const IntegerStep& step, const std::vector<at::Tensor>& places,
                                   const at::Tensor& images) const {
  const auto input = [&](size_t k) { return places[step.inputs[k]]; };
  const auto inputs = [&] {
    std::vector<at::Tensor> all;
    for (const int node : step.inputs) all.push_back(places[node]);
    return all;
  };
  const bool flat = info().shape(step.node).flat;
  if (const auto* operation = std::get_if<PlacedImages>(&step.operation)) {
    return PlacesOf(operation->rounding, operation->grid, images);
  }
  if (const auto* operation = std::get_if<StoredPlaces>(&step.operation)) return operation->places;
  if (const auto* operation = std::get_if<MovedPlaces>(&step.operation)) {
    const double zero_point = static_cast<double>(operation->zero_point);
    const at::Tensor x = input(0).to(at::kFloat) - zero_point;
    return (RunNode(*model_, info().node(step.node), {x}, {}, /*overwrite=*/false) + zero_point).to(at::kByte);
  }
  if (const auto* operation = std::get_if<IntegerConv>(&step.operation)) {
    const at::Tensor values = prunelab::Run(*operation, AsMap(input(0)));
    return flat ? values.flatten(1) : values;
  }
  if (const auto* operation = std::get_if<AccumulatedConv>(&step.operation)) {
    const at::Tensor sums = Accumulators(operation->conv, AsMap(input(0)));
    const at::Tensor values = (sums.to(at::kDouble) * operation->conv.step.view({-1, 1, 1})).to(at::kFloat);
    return flat ? values.flatten(1) : values;
  }
  if (const auto* operation = std::get_if<IntegerSum>(&step.operation)) return prunelab::Run(*operation, inputs());
  if (const auto* operation = std::get_if<IntegerConcat>(&step.operation)) return prunelab::Run(*operation, inputs());
  if (const auto* operation = std::get_if<IntegerProduct>(&step.operation)) {
    return prunelab::Run(*operation, input(0), input(1));
  }
  if (const auto* operation = std::get_if<IntegerAveragePool>(&step.operation)) {
    return prunelab::Run(*operation, input(0));
  }
  return prunelab::Run(std::get<IntegerTable>(step.operation), input(0));
}

IntegerResult IntegerNetwork::Run(const at::Tensor& images, const std::set<std::string>& places) const {
  const at::NoGradGuard no_gradients;
  IntegerResult result;
  std::vector<at::Tensor> values(info().network().node_size());
  for (const IntegerStep& step : steps_) {
    values[step.node] = RunStep(step, values, images);
    const std::string& name = info().node(step.node).name();
    if (places.count(name) > 0) result.places[name] = values[step.node];
    for (const int node : step.last_read) values[node] = at::Tensor();
  }
  for (const int output : info().outputs()) {
    at::Tensor value = values[output];
    if (const auto grid = output_grids_.find(output); grid != output_grids_.end()) {
      value = (value.to(at::kFloat) - static_cast<double>(grid->second.zero_point)) * grid->second.scale;
    }
    // A stored constant, once for each image.
    std::vector<int64_t> sizes = value.sizes().vec();
    sizes[0] = images.size(0);
    result.results.push_back(value.expand(sizes));
  }
  return result;
}

}  // namespace prunelab
