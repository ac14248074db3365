#include "ml/compression/constant_inputs.h"

#include <ATen/ATen.h>

#include "ml/compression/channel_analysis.h"
#include "ml/compression/kept_channels.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

void AddToBias(WeightedNetwork& network, const Operator& op, Node& node, const at::Tensor& values) {
  const at::Tensor weight = network.Get(node.name(), "weight");
  at::Tensor bias = values.view(-1);
  if (network.Has(node.name(), "bias")) bias = network.Get(node.name(), "bias").to(at::kDouble) + bias;
  network.Set(node.name(), "bias", bias.to(weight.scalar_type()));
  op.AddBias(node);
}

// The constant inputs of node i that are folded into what it computes: bool [inputs]. Of several groups none are,
// unless each group can lose an input then.
at::Tensor Folded(const ChannelAnalysis& analysis, int i) {
  const int input = analysis.info.inputs(i)[0];
  const at::Tensor constant = analysis.live[input].logical_not();
  const int64_t groups = analysis.relations[i].groups;
  const at::Tensor kept = analysis.Kept(input).view({groups, -1});
  const bool each_loses = kept.size(1) > kept.sum(1).max().item<int64_t>();
  return groups == 1 || each_loses ? constant : at::zeros_like(constant);
}

// The largest constant input of convolution i among those that stay (`kept`, by node), which can carry what all of them
// bring. -1 where that is no picture and becomes a bias; if there is no such constant that is the same at every pixel;
// or if it is so small beside the others that its own rounding would count.
int64_t Carrier(const ChannelAnalysis& analysis, int i, const std::vector<at::Tensor>& kept) {
  const at::Tensor& reached = analysis.reached[i].values;
  if (analysis.relations[i].groups > 1 || reached.numel() <= reached.size(0) || !reached.ne(0).any().item<bool>()) {
    return -1;
  }
  const int input = analysis.info.inputs(i)[0];
  // Pictures differ from pixel to pixel where constants do not, too: at the border of a convolution that pads.
  const at::Tensor zero = analysis.constants[input].values.flatten(1).eq(0).all(1);
  if (!(analysis.live[input] | analysis.IsEven(input) | zero).all().item<bool>()) return -1;
  const at::Tensor usable = kept[input] & analysis.IsEven(input);
  if (!usable.any().item<bool>()) return -1;
  const at::Tensor pixels = analysis.constants[input].values.flatten(1).select(1, 0);
  constexpr double kMostTimes = 4;
  const at::Tensor sizes = pixels.abs().masked_fill(analysis.live[input], 0);
  const int64_t carrier = sizes.masked_fill(usable.logical_not(), 0).argmax().item<int64_t>();
  const bool enough = sizes.max().item<double>() <= kMostTimes * sizes[carrier].item<double>();
  return enough ? carrier : -1;
}

// The weights [out, in, height, width] of a convolution whose constant inputs, those that `meets` marks, have all been
// moved to the one that carries them.
at::Tensor Carried(const ChannelAnalysis& analysis, int input, int64_t carrier, const at::Tensor& weight,
                   const at::Tensor& meets) {
  const at::Tensor pixels = analysis.constants[input].values.flatten(1).select(1, 0);
  const at::Tensor share = (pixels / pixels[carrier]).view({1, -1, 1, 1});
  at::Tensor moved = weight.masked_fill(meets, 0);
  const at::Tensor met = weight.to(at::kDouble).masked_fill(meets.logical_not(), 0);
  moved.slice(1, carrier, carrier + 1).copy_((met * share).sum(1, /*keepdim=*/true));
  return moved;
}

}  // namespace

void FoldConstantInputs(WeightedNetwork& network, const ChannelAnalysis& analysis, const ChannelLayout& layout) {
  std::vector<at::Tensor> kept;
  if (!layout.IsPlain()) kept = KeptChannels(analysis, layout, ReadConstants::kGo);
  NetworkRewriter rewriter(network);
  for (int i = 0; i < analysis.info.network().node_size(); ++i) {
    const Node& node = analysis.info.node(i);
    Node& copy = *rewriter.AppendCopy(node);
    const ChannelRelation& relation = analysis.relations[i];
    if (relation.kind != ChannelRelation::Kind::kMixed) continue;
    const int input = analysis.info.inputs(i)[0];
    if (analysis.carries_stream[input] || !analysis.live[i].any().item<bool>()) continue;
    // Weights that are multiplied by a constant: bool, broadcast to the weight.
    const Operator& op = analysis.info.op(i);
    const int64_t groups = relation.groups;
    const at::Tensor weight = op.ByOutput(network.Get(node.name(), "weight"), groups);
    at::Tensor meets = Folded(analysis, i).view({groups, -1});
    if (groups > 1) meets = meets.repeat_interleave(weight.size(0) / groups, 0);
    if (weight.dim() == 4) meets = meets.unsqueeze(2).unsqueeze(3);
    if (!(weight.ne(0) & meets).any().item<bool>()) continue;
    const ChannelPictures& reached = analysis.reached[i];
    if (const int64_t carrier = kept.empty() ? -1 : Carrier(analysis, i, kept); carrier >= 0) {
      network.Set(node.name(), "weight", op.FromByOutput(Carried(analysis, input, carrier, weight, meets), groups));
      continue;
    }
    network.Set(node.name(), "weight", op.FromByOutput(weight.masked_fill(meets, 0), groups));
    if (!reached.values.ne(0).any().item<bool>()) continue;
    if (reached.values.numel() == weight.size(0)) {
      AddToBias(network, op, copy, reached.values);
      continue;
    }
    const std::string constant = rewriter.AppendConstant(node.name(), reached, weight.scalar_type());
    rewriter.Rename(node.name(), rewriter.AppendSum(node.name(), {node.name(), constant}));
  }
  rewriter.Finish();
}

}  // namespace prunelab
