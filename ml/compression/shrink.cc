#include "ml/compression/shrink.h"

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "ml/compression/channel_analysis.h"
#include "ml/compression/kept_channels.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

class Shrinker {
 public:
  Shrinker(WeightedNetwork& network, int64_t channel_multiple)
      : network_(network), a_(network), kept_(KeptChannels(a_, channel_multiple)), rewriter_(network) {
    FindRead();
  }

  void Run() {
    const int size = a_.info.network().node_size();
    if (!a_.live[size - 1].any().item<bool>()) return;  // ReplaceConstantOutput's
    for (int i = 0; i < size; ++i) {
      if (!kept_[i].any().item<bool>()) continue;
      Rewrite(i);
      if (a_.starts_stream[i]) Widen(i);
    }
    rewriter_.Finish();
  }

 private:
  const std::string& Name(int i) const { return a_.info.node(i).name(); }

  // The channels that readers of node i see.
  at::Tensor Presented(int i) const { return a_.starts_stream[i] ? at::ones_like(kept_[i]) : kept_[i]; }

  // Which channels the nodes that are computed read, constant ones too. `needed` of the analysis stops where a channel
  // is constant, because what follows is known; but a node that is computed with that channel, because a stream keeps
  // its width, a group stays together or channels are rounded up, computes with the constant.
  void FindRead() {
    const int size = a_.info.network().node_size();
    for (int i = 0; i < size; ++i) read_.push_back(at::zeros({a_.info.shape(i).channels}, at::kBool));
    read_[size - 1].fill_(true);
    for (int i = size - 1; i >= 0; --i) {
      const at::Tensor computed = read_[i] & kept_[i];
      if (!computed.any().item<bool>()) continue;
      for (const int input : a_.info.inputs(i)) {
        if (a_.info.node(i).op_case() == Node::kAdd && !a_.Contributes(input, i)) continue;  // stored with the sum
        read_[input] = read_[input] | (ReadBy(i, input, computed) & Presented(input));
      }
    }
  }

  // The channels of `input` that the channels `computed` of node i are made of.
  at::Tensor ReadBy(int i, int input, const at::Tensor& computed) const {
    const Node& node = a_.info.node(i);
    const int64_t channels = a_.info.shape(input).channels;
    switch (node.op_case()) {
      case Node::kConv2D:
      case Node::kLinear: {
        const int64_t groups = node.op_case() == Node::kConv2D ? node.conv2d().groups() : 1;
        const at::Tensor weight = network_.Get(node.name(), "weight");
        const at::Tensor reads = weight.ne(0).view({weight.size(0), weight.size(1), -1}).any(2) & computed.unsqueeze(1);
        return reads.view({groups, -1, channels / groups}).any(1).view(-1);
      }
      case Node::kBatchNorm2D:
        return computed & network_.Get(node.name(), "weight").ne(0);
      case Node::kFlatten:
        return computed.view({channels, -1}).any(1);
      case Node::kScatter:
        return computed.index_select(
            0,
            at::tensor(std::vector<int64_t>(node.scatter().index().begin(), node.scatter().index().end()), at::kLong));
      default:
        return computed;
    }
  }

  // The pictures of node i, zero but for the channels marked.
  ChannelPictures Pictures(int i, const at::Tensor& channels) const {
    ChannelPictures pictures = a_.constants[i];
    pictures.values = pictures.values.masked_fill(channels.logical_not().view({-1, 1, 1}), 0);
    return pictures;
  }

  void SelectRows(const Node& node, const std::vector<const char*>& suffixes, const at::Tensor& kept) {
    const at::Tensor index = WhereTrue(kept);
    for (const char* suffix : suffixes) {
      if (!network_.Has(node.name(), suffix)) continue;
      network_.Set(node.name(), suffix, network_.Get(node.name(), suffix).index_select(0, index));
    }
  }

  void Rewrite(int i) {
    const Node& node = a_.info.node(i);
    const at::Tensor& kept = kept_[i];
    const int64_t count = kept.sum().item<int64_t>();
    switch (node.op_case()) {
      case Node::kAdd:
        RewriteSum(i);
        return;
      case Node::kScatter:
        RewriteScatter(i);
        return;
      case Node::kConv2D: {
        Node* copy = rewriter_.AppendCopy(node);
        copy->mutable_conv2d()->set_out_channels(count);
        SelectRows(node, {"weight", "bias"}, kept);
        const int64_t groups = node.conv2d().groups();
        if (groups > 1) {
          copy->mutable_conv2d()->set_groups(kept.view({groups, -1}).any(1).sum().item<int64_t>());
        } else {
          SelectInputs(i);
        }
        return;
      }
      case Node::kLinear:
        rewriter_.AppendCopy(node)->mutable_linear()->set_out_features(count);
        SelectRows(node, {"weight", "bias"}, kept);
        SelectInputs(i);
        return;
      case Node::kBatchNorm2D:
        SelectRows(node, {"weight", "bias", "running_mean", "running_var"}, kept);
        rewriter_.AppendCopy(node);
        return;
      default:
        rewriter_.AppendCopy(node);
        return;
    }
  }

  void SelectInputs(int i) {
    const at::Tensor index = WhereTrue(Presented(a_.info.inputs(i)[0]));
    network_.Set(Name(i), "weight", network_.Get(Name(i), "weight").index_select(1, index));
  }

  void RewriteScatter(int i) {
    const Node& node = a_.info.node(i);
    const at::Tensor presented = Presented(a_.info.inputs(i)[0]);
    const at::Tensor place = kept_[i].to(at::kLong).cumsum(0) - 1;  // old channel -> new
    const int64_t count = kept_[i].sum().item<int64_t>();
    std::vector<int64_t> index;
    bool same_order = true;
    for (int64_t k = 0; k < presented.numel(); ++k) {
      if (!presented[k].item<bool>()) continue;
      index.push_back(place[node.scatter().index(static_cast<int>(k))].item<int64_t>());
      same_order = same_order && index.back() == static_cast<int64_t>(index.size()) - 1;
    }
    if (same_order && static_cast<int64_t>(index.size()) == count) {
      rewriter_.Rename(node.name(), rewriter_.NewName(Name(a_.info.inputs(i)[0])));
      return;
    }
    Scatter* scatter = rewriter_.AppendCopy(node)->mutable_scatter();
    scatter->set_channels(count);
    scatter->clear_index();
    for (const int64_t k : index) scatter->add_index(k);
  }

  void RewriteSum(int i) {
    const Node& node = a_.info.node(i);
    const NodeShape& shape = a_.info.shape(i);
    const bool residual = a_.IsResidualSum(i);
    std::vector<std::string> inputs;
    std::vector<NodeShape> terms;
    ChannelPictures stored = {at::zeros({shape.channels, 1, 1}, at::kDouble), {shape.height}, {shape.width}};
    const auto store = [&](int input, const at::Tensor& channels) {
      stored = SumOf(stored, Pictures(input, channels & read_[i]), shape.height, shape.width);
    };
    for (const int input : a_.info.inputs(i)) {
      const std::string name = rewriter_.NewName(Name(input));
      if (!a_.Contributes(input, i)) {
        store(input, kept_[i]);
        continue;
      }
      terms.push_back(a_.info.shape(input));
      if (residual) {
        const at::Tensor presented = Presented(input);
        inputs.push_back(rewriter_.AppendScatter(name, name, presented));
        store(input, presented.logical_not());
      } else {
        inputs.push_back(name);
      }
    }
    stored.values = stored.values.index_select(0, WhereTrue(kept_[i]));
    const std::string constant = rewriter_.AppendTerm(node, shape, terms, stored, network_.DType());
    if (!constant.empty()) inputs.push_back(constant);
    rewriter_.ReplaceSum(node, inputs);
  }

  // Behind a node that starts a residual stream: its kept channels in their places, and the constants of the others.
  void Widen(int i) {
    const std::string name = rewriter_.NewName(Name(i));
    std::vector<std::string> inputs = {rewriter_.AppendScatter(name, name, kept_[i])};
    const ChannelPictures stored = Pictures(i, kept_[i].logical_not() & read_[i]);
    const std::string constant = rewriter_.AppendConstant(name, stored, network_.DType());
    if (!constant.empty()) inputs.push_back(constant);
    rewriter_.Rename(Name(i), rewriter_.AppendSum(name, inputs));
  }

  WeightedNetwork& network_;
  const ChannelAnalysis a_;
  const std::vector<at::Tensor> kept_;
  std::vector<at::Tensor> read_;  // bool [channels]
  NetworkRewriter rewriter_;
};

}  // namespace

void Shrink(WeightedNetwork& network, int64_t channel_multiple) { Shrinker(network, channel_multiple).Run(); }

}  // namespace prunelab
