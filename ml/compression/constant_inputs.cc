#include "ml/compression/constant_inputs.h"

#include <ATen/ATen.h>

#include "ml/compression/channel_analysis.h"
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

}  // namespace

void FoldConstantInputs(WeightedNetwork& network) {
  const ChannelAnalysis analysis(network);
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
    network.Set(node.name(), "weight", op.FromByOutput(weight.masked_fill(meets, 0), groups));
    const ChannelPictures& reached = analysis.reached[i];
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
