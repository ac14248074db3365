#include "ml/compression/fold_batch_norm.h"

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <vector>

#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

// What comes before a BN: a convolution and the stored constants that are added to it, none of them with other
// consumers.
struct Before {
  int conv = -1;
  // Constant nodes, and the channels of the sum that their channels are added to.
  std::vector<std::pair<int, std::vector<int64_t>>> constants;
};

bool IsOwnConv(const NetworkInfo& info, int i) {
  const Node::OpCase op = info.node(i).op_case();
  return (op == Node::kConv2D || op == Node::kConvTranspose2D) && IsReadOnce(info, i);
}

Before Find(const NetworkInfo& info, int input) {
  Before before;
  if (IsOwnConv(info, input)) {
    before.conv = input;
    return before;
  }
  if (info.node(input).op_case() != Node::kAdd || !IsReadOnce(info, input)) return {};
  for (const int term : info.inputs(input)) {
    if (!IsReadOnce(info, term)) return {};
    if (IsOwnConv(info, term) && before.conv < 0) {
      before.conv = term;
      continue;
    }
    int constant = term;
    std::vector<int64_t> channels(info.shape(term).channels);
    for (size_t c = 0; c < channels.size(); ++c) channels[c] = static_cast<int64_t>(c);
    if (info.node(term).op_case() == Node::kScatter) {
      constant = info.inputs(term)[0];
      channels.assign(info.node(term).scatter().index().begin(), info.node(term).scatter().index().end());
    }
    if (info.node(constant).op_case() != Node::kConstant || !IsReadOnce(info, constant)) return {};
    before.constants.emplace_back(constant, channels);
  }
  return before;
}

// Before BN is folded, because one may lie between a convolution and its BN.
void DropDropout(WeightedNetwork& network) {
  const Network old = network.network;
  NetworkRewriter rewriter(network);
  for (const Node& node : old.node()) {
    if (node.op_case() == Node::kDropout) {
      rewriter.Rename(node.name(), rewriter.NewName(node.input(0)));
    } else {
      rewriter.AppendCopy(node);
    }
  }
  rewriter.Finish();
}

// `direct`: only where BN stands right after the convolution.
void Fold(WeightedNetwork& network, bool direct) {
  DropDropout(network);
  const NetworkInfo info = network.Info();
  NetworkRewriter rewriter(network);
  std::map<std::string, Node*> written;
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    const Before before = node.op_case() == Node::kBatchNorm2D ? Find(info, info.inputs(i)[0]) : Before();
    if (before.conv < 0 || (direct && before.conv != info.inputs(i)[0])) {
      written[node.name()] = rewriter.AppendCopy(node);
      continue;
    }
    const auto get = [&](const char* suffix) { return network.Get(node.name(), suffix).to(at::kDouble); };
    const at::Tensor scale = get("weight") / (get("running_var") + node.batch_norm2d().epsilon()).sqrt();
    at::Tensor shift = get("bias") - get("running_mean") * scale;
    const std::string& conv = info.node(before.conv).name();
    const Operator& op = info.op(before.conv);
    const int64_t groups = op.Channels(info.View(before.conv)).groups;
    const at::Tensor weight = op.ByOutput(network.Get(conv, "weight"), groups);
    if (network.Has(conv, "bias")) shift = shift + network.Get(conv, "bias").to(at::kDouble) * scale;
    const at::Tensor scaled = (weight.to(at::kDouble) * scale.view({-1, 1, 1, 1})).to(weight.scalar_type());
    network.Set(conv, "weight", op.FromByOutput(scaled, groups));
    network.Set(conv, "bias", shift.to(weight.scalar_type()));
    op.AddBias(*written[conv]);
    for (const auto& [constant, channels] : before.constants) {
      const std::string& name = info.node(constant).name();
      const at::Tensor value = network.Get(name, "value");
      const at::Tensor factor = scale.index_select(0, at::tensor(channels, at::kLong)).view({-1, 1, 1});
      network.Set(name, "value", (value.to(at::kDouble) * factor).to(value.scalar_type()));
    }
    rewriter.Rename(node.name(), rewriter.NewName(info.node(info.inputs(i)[0]).name()));
  }
  rewriter.Finish();
}

}  // namespace

void FoldBatchNorm(WeightedNetwork& network) { Fold(network, /*direct=*/false); }

void FoldBatchNormAfterConvolutions(WeightedNetwork& network) { Fold(network, /*direct=*/true); }

}  // namespace prunelab
