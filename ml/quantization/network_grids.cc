#include "ml/quantization/network_grids.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/compression/network_rewriter.h"
#include "ml/network/fake_quantize.h"
#include "ml/network/operator.h"
#include "ml/network/value_grids.h"
#include "ml/quantization/integer_operators.h"

namespace prunelab {
namespace {

// Of a channel: its bias is at most so many times the scale of its accumulators, which leaves them room in 32 bits.
constexpr double kLargestBias = 1 << 30;

}  // namespace

void MakeConvolutions(WeightedNetwork& network) {
  const NetworkInfo info = network.Info();
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    Node* copy = rewriter.AppendCopy(node);
    const bool norm = node.op_case() == Node::kBatchNorm2D;
    if ((!norm && node.op_case() != Node::kChannelScale) || info.shape(i).flat) continue;
    const int64_t channels = info.shape(i).channels;
    const auto get = [&](const char* suffix, double otherwise) {
      return network.Has(node.name(), suffix) ? network.Get(node.name(), suffix).to(at::kDouble)
                                              : at::full({channels}, otherwise, at::kDouble);
    };
    at::Tensor scale = get("weight", 1), shift = get("bias", 0);
    if (norm) {
      scale = scale / (get("running_var", 1) + node.batch_norm2d().epsilon()).sqrt();
      shift = shift - get("running_mean", 0) * scale;
    }
    Conv2d* conv = copy->mutable_conv2d();
    conv->set_out_channels(channels);
    conv->set_kernel_height(1);
    conv->set_kernel_width(1);
    conv->set_groups(channels);
    conv->set_bias(true);
    const at::ScalarType dtype = network.DType();
    for (const char* suffix : {"running_mean", "running_var", "num_batches_tracked"}) {
      network.tensors.erase(absl::StrCat(node.name(), ".", suffix));
    }
    network.Set(node.name(), "weight", scale.to(dtype).view({channels, 1, 1, 1}));
    network.Set(node.name(), "bias", shift.to(dtype));
  }
  rewriter.Finish();
}

std::vector<bool> NodesForGrids(const NetworkInfo& info) {
  const int size = info.network().node_size();
  std::vector<bool> on_grid(size, false), wanted(size, false);
  for (int i = 0; i < size; ++i) {
    const Node& node = info.node(i);
    const std::vector<int>& inputs = info.inputs(i);
    if (inputs.size() == 1 && on_grid[inputs[0]] && info.op(i).KeepsValues(node)) {
      on_grid[i] = true;
      continue;
    }
    const bool is_result = info.IsOutput(i) && info.users(i).empty() && HasWeights(node);
    // Images and stored values are put on their own grids; a ReLU keeps what lies on one.
    const bool clipped =
        !inputs.empty() && info.users(i).size() == 1 && !info.IsOutput(i) && IsClip(info.node(info.users(i)[0]));
    // A clip after a clip would have no grid to read from.
    const bool waits = clipped && !(IsClip(node) && !on_grid[inputs[0]]);
    if (is_result || waits) continue;
    on_grid[i] = wanted[i] = true;
  }
  return wanted;
}

void InsertGrids(WeightedNetwork& network, const std::map<std::string, Grid>& grids, int64_t bits) {
  const Network old = network.network;
  const at::ScalarType dtype = network.DType();
  NetworkRewriter rewriter(network);
  for (const Node& node : old.node()) {
    const std::string written = rewriter.AppendCopy(node)->name();
    if (grids.count(node.name()) == 0) continue;
    Node* grid = rewriter.Append();
    grid->set_name(rewriter.NewNode(absl::StrCat(node.name(), ".quantize")));
    grid->add_input(written);
    grid->mutable_fake_quantize()->set_bits(bits);
    rewriter.Rename(node.name(), grid->name());
  }
  rewriter.Finish();
  for (const Node& node : network.network.node()) {
    if (!node.has_fake_quantize()) continue;
    const Grid& grid = grids.at(node.input(0));
    network.Set(node.name(), "scale", at::scalar_tensor(grid.scale, at::kFloat).to(dtype));
    network.Set(node.name(), "zero_point", at::scalar_tensor(grid.zero_point, dtype));
  }
}

at::Tensor ScalesOf(const at::Tensor& weight, const WeightGrids& grids) {
  if (grids.per_channel) return WeightScales(weight, grids.method, grids.bits);
  return WeightScales(weight.reshape({1, -1}), grids.method, grids.bits).expand({weight.size(0)}).contiguous();
}

void QuantizeWeights(WeightedNetwork& network, const WeightGrids& grids) {
  for (Node& node : *network.network.mutable_node()) {
    if (node.has_conv2d()) {
      node.mutable_conv2d()->set_weight_bits(grids.bits);
      node.mutable_conv2d()->clear_initial_identity();  // its weights are no longer fresh ones
    }
    if (node.has_linear()) node.mutable_linear()->set_weight_bits(grids.bits);
  }
  // The new buffers do not exist yet, but the nodes can be asked for their inputs all the same.
  const NetworkInfo info = network.Info();
  const std::vector<int> value_grids = ValueGrids(info);
  const at::ScalarType dtype = network.DType();
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (!HasWeights(info.node(i))) continue;
    const std::string& name = info.node(i).name();
    const at::Tensor weight = network.Get(name, "weight");
    at::Tensor scale = ScalesOf(weight, grids);
    const double in = network.Get(info.node(value_grids[info.inputs(i)[0]]).name(), "scale").item<double>();
    if (network.Has(name, "bias")) {
      const at::Tensor bias = network.Get(name, "bias").to(at::kDouble);
      // A channel of small weights, or of none, with a large bias.
      scale = at::maximum(scale, (bias.abs() / (in * kLargestBias)).to(at::kFloat));
      const at::Tensor step = scale.to(at::kDouble) * in;
      network.Set(name, "bias", ((bias / step).round() * step).to(dtype));
    }
    network.Set(name, "weight", WeightsOfLevels(WeightLevels(weight, scale, grids.bits), scale).to(dtype));
    network.Set(name, "weight_scale", scale.to(dtype));
  }
}

}  // namespace prunelab
