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
  Shrinker(WeightedNetwork& network, const ChannelAnalysis& analysis, const ChannelLayout& layout)
      : network_(network), a_(analysis), kept_(KeptChannels(a_, layout, ReadConstants::kStay)), rewriter_(network) {
    FindRead();
  }

  void Run() {
    const int size = a_.info.network().node_size();
    // Constant outputs are ReplaceConstantOutput's. If there are others, what it has stored stays as it is.
    std::vector<bool> stays(size, false);
    stays[a_.info.image()] = !kept_[a_.info.image()].any().item<bool>();  // where only constants are left
    for (const int output : a_.info.outputs()) {
      if (!a_.IsConstant(output)) continue;
      if (!a_.IsStored(output) || a_.info.outputs().size() == 1) return;
      stays[output] = true;
      for (const int input : a_.info.inputs(output)) stays[input] = true;
    }
    for (int i = 0; i < size; ++i) {
      if (stays[i]) rewriter_.AppendCopy(a_.info.node(i));
      if (stays[i] || !kept_[i].any().item<bool>()) continue;
      Rewrite(i);
      if (a_.starts_stream[i]) Widen(i);
    }
    rewriter_.Finish();
  }

 private:
  const std::string& Name(int i) const { return a_.info.node(i).name(); }

  // The channels that consumers of node i see.
  at::Tensor Presented(int i) const { return a_.starts_stream[i] ? at::ones_like(kept_[i]) : kept_[i]; }

  bool Divides(int i) const { return a_.info.node(i).arithmetic().function() == Arithmetic::DIVIDE; }

  // Which channels the computed nodes read, including constant ones. `needed` of the analysis stops where a channel is
  // constant, because everything after it is known. But a node that is computed with that channel (because a stream
  // keeps its width, a group stays together or channels are rounded up) still computes with the constant.
  void FindRead() {
    const int size = a_.info.network().node_size();
    for (int i = 0; i < size; ++i) read_.push_back(at::zeros({a_.info.shape(i).channels}, at::kBool));
    for (const int output : a_.info.outputs()) read_[output].fill_(true);
    for (int i = size - 1; i >= 0; --i) {
      // A quotient must not divide by the zero of a constant that is left out, even where nobody reads it: the NaN
      // would reach the logits through weights of zero.
      if (Divides(i)) read_[i] = kept_[i];
      const at::Tensor computed = read_[i] & kept_[i];
      if (!computed.any().item<bool>()) continue;
      const std::vector<int>& inputs = a_.info.inputs(i);
      for (size_t k = 0; k < inputs.size(); ++k) {
        if (inputs.size() > 1 && !a_.Contributes(i, k)) continue;  // stored with the node
        at::Tensor& read = read_[inputs[k]];
        read = read | (a_.ReadFrom(i, k, computed) & Presented(inputs[k]));
      }
    }
  }

  // The pictures of node i, zero except for the marked channels.
  ChannelPictures Pictures(int i, const at::Tensor& channels) const {
    ChannelPictures pictures = a_.constants[i];
    pictures.values = pictures.values.masked_fill(channels.logical_not().view({-1, 1, 1}), 0);
    return pictures;
  }

  void Rewrite(int i) {
    if (a_.info.node(i).op_case() == Node::kAdd) {
      RewriteSum(i);
      return;
    }
    RemainingChannels remaining = {kept_[i], {}};
    for (const int input : a_.info.inputs(i)) remaining.inputs.push_back(Presented(input));
    rewriter_.NarrowParameters(a_.info, i, remaining);
    Node node = rewriter_.Copy(a_.info.node(i));
    a_.info.op(i).Narrow(node, remaining);
    if (a_.info.inputs(i).size() > 1) ReplaceConstantInputs(i, node);
    if (node.input_size() == 1 && a_.info.op(i).PassesOn(node, remaining.inputs[0].sum().item<int64_t>())) {
      rewriter_.Rename(node.name(), node.input(0));
    } else {
      *rewriter_.Append() = node;
    }
  }

  // Inputs of the copy of node i that bring only constants are left out; where their channels stay all the same, a
  // stored constant takes their place.
  void ReplaceConstantInputs(int i, Node& copy) {
    copy.clear_input();
    for (size_t k = 0; k < a_.info.inputs(i).size(); ++k) {
      const int input = a_.info.inputs(i)[k];
      const std::string name = rewriter_.NewName(Name(input));
      if (a_.Contributes(i, k)) {
        copy.add_input(name);
        continue;
      }
      const auto to_input = [&](const at::Tensor& flags) {
        return ToInputs(a_.relations[i], k, flags, a_.info.shape(input).channels);
      };
      const at::Tensor which = WhereTrue(to_input(kept_[i]));
      if (which.numel() == 0) continue;
      ChannelPictures pictures = Pictures(input, to_input(kept_[i] & read_[i]));
      // Nobody reads the quotients of live channels here, which may be anything but NaN.
      if (Divides(i)) pictures.values = pictures.values.masked_fill(a_.live[input].view({-1, 1, 1}), 1);
      pictures.values = pictures.values.index_select(0, which);
      // Named after its reader, as in the round before: after what it replaces it would have a longer name each time.
      copy.add_input(rewriter_.AppendPart(copy.name(), a_.info.shape(input), pictures, network_.DType()));
    }
  }

  void RewriteSum(int i) {
    const Node& node = a_.info.node(i);
    const NodeShape& shape = a_.info.shape(i);
    const bool residual = a_.IsResidualSum(i);
    std::vector<std::string> inputs;
    std::vector<NodeShape> terms;
    ChannelPictures stored = ZeroPictures(shape.channels, shape.height, shape.width);
    const auto store = [&](int input, const at::Tensor& channels) {
      stored = SumOf(stored, Pictures(input, channels & read_[i]), shape.height, shape.width);
    };
    for (size_t k = 0; k < a_.info.inputs(i).size(); ++k) {
      const int input = a_.info.inputs(i)[k];
      const std::string name = rewriter_.NewName(Name(input));
      if (!a_.Contributes(i, k)) {
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

  // After a node that starts a residual stream: its kept channels in their places, and the constants of the others.
  void Widen(int i) {
    const std::string name = rewriter_.NewName(Name(i));
    std::vector<std::string> inputs = {rewriter_.AppendScatter(name, name, kept_[i])};
    const ChannelPictures stored = Pictures(i, kept_[i].logical_not() & read_[i]);
    const std::string constant = rewriter_.AppendConstant(name, stored, network_.DType());
    if (!constant.empty()) inputs.push_back(constant);
    rewriter_.Rename(Name(i), rewriter_.AppendSum(name, inputs));
  }

  WeightedNetwork& network_;
  const ChannelAnalysis& a_;
  const std::vector<at::Tensor> kept_;
  std::vector<at::Tensor> read_;  // bool [channels]
  NetworkRewriter rewriter_;
};

}  // namespace

void Shrink(WeightedNetwork& network, const ChannelAnalysis& analysis, const ChannelLayout& layout) {
  Shrinker(network, analysis, layout).Run();
}

}  // namespace prunelab
