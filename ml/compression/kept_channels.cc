#include "ml/compression/kept_channels.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace prunelab {
namespace {

class Chains {
 public:
  Chains(const ChannelAnalysis& analysis, int64_t multiple) : a_(analysis), size_(a_.info.network().node_size()) {
    for (int i = 0; i < size_; ++i) {
      parent_.push_back(i);
      full_.push_back(i == size_ - 1 || a_.info.node(i).op_case() == Node::kImage || a_.IsResidualSum(i));
    }
    for (int i = 0; i < size_; ++i) Link(i);
    for (int i = 0; i < size_; ++i) {
      kept_.push_back(a_.Kept(i));
      if (i != Root(i)) full_[Root(i)] = full_[Root(i)] || full_[i];
    }
    for (int i = 0; i < size_; ++i) {
      if (i != Root(i)) Mark(i, kept_[i]);
      if (full_[Root(i)] && (a_.AnyKept(i) || i == size_ - 1)) kept_[Root(i)] = at::ones_like(kept_[i]);
    }
    for (int i = 0; i < size_; ++i) {
      if (i == Root(i)) RoundUp(kept_[i], multiple);
    }
    do {
      changed_ = false;
      for (int i = 0; i < size_; ++i) {
        if (a_.AnyKept(i)) Close(i);
      }
    } while (changed_);
  }

  std::vector<at::Tensor> Kept() const {
    std::vector<at::Tensor> kept;
    for (int i = 0; i < size_; ++i) {
      const bool needed = a_.AnyKept(i) || i == size_ - 1 || a_.info.node(i).op_case() == Node::kImage;
      kept.push_back(needed ? kept_[Root(i)] : at::zeros_like(kept_[i]));
    }
    return kept;
  }

 private:
  int Root(int i) const { return parent_[i] == i ? i : Root(parent_[i]); }

  // Joins a node with the input whose channels it hands on one by one.
  void Link(int i) {
    int input = -1;
    switch (a_.info.node(i).op_case()) {
      case Node::kBatchNorm2D:
      case Node::kRelu:
      case Node::kMaxPool2D:
      case Node::kAveragePool2D:
      case Node::kGlobalAveragePool:
        input = a_.info.inputs(i)[0];
        break;
      case Node::kAdd:
        for (const int j : a_.info.inputs(i)) {
          if (!a_.Contributes(j, i)) continue;
          if (!a_.IsResidualSum(i)) input = j;
          // Features cannot be scattered into a stream.
          if (a_.IsResidualSum(i) && a_.info.shape(i).flat) full_[j] = true;
        }
        break;
      case Node::kFlatten:
      case Node::kScatter:
        full_[i] = full_[i] || a_.carries_stream[a_.info.inputs(i)[0]];
        break;
      default:
        break;
    }
    if (input < 0) return;
    if (a_.carries_stream[input]) {
      full_[i] = true;
    } else {
      parent_[Root(i)] = Root(input);
    }
  }

  void Mark(int i, const at::Tensor& also) {
    at::Tensor& kept = kept_[Root(i)];
    const at::Tensor both = kept | also;
    if (at::equal(both, kept)) return;
    kept = both;
    changed_ = true;
  }

  static void RoundUp(at::Tensor& kept, int64_t multiple) {
    const int64_t count = kept.sum().item<int64_t>();
    if (count == 0 || count % multiple == 0) return;
    const int64_t wanted = std::min(kept.numel(), (count / multiple + 1) * multiple);
    const at::Tensor dead = kept.logical_not().nonzero().view(-1).slice(0, 0, wanted - count);
    kept = kept.index_fill(0, dead, true);
  }

  void Close(int i) {
    const Node& node = a_.info.node(i);
    if (a_.info.inputs(i).empty()) return;
    const int input = a_.info.inputs(i)[0];
    const bool from_stream = a_.carries_stream[input];
    const at::Tensor kept = kept_[Root(i)];
    switch (node.op_case()) {
      case Node::kConv2D: {
        const int64_t groups = node.conv2d().groups();
        if (groups == 1) return;
        at::Tensor kept_groups = kept.view({groups, -1}).any(1);
        kept_groups =
            from_stream ? at::ones_like(kept_groups) : kept_groups | kept_[Root(input)].view({groups, -1}).any(1);
        Mark(i, kept_groups.repeat_interleave(kept.numel() / groups));
        if (!from_stream) Mark(input, kept_groups.repeat_interleave(kept_[Root(input)].numel() / groups));
        return;
      }
      case Node::kFlatten: {
        if (from_stream) return;
        const at::Tensor channels = kept.view({kept_[Root(input)].numel(), -1}).any(1);
        Mark(input, channels);
        Mark(i, kept_[Root(input)].repeat_interleave(kept.numel() / channels.numel()));
        return;
      }
      case Node::kScatter: {
        if (from_stream) return;
        const at::Tensor index =
            at::tensor(std::vector<int64_t>(node.scatter().index().begin(), node.scatter().index().end()), at::kLong);
        Mark(input, kept.index_select(0, index));
        Mark(i, at::zeros_like(kept).index_copy(0, index, kept_[Root(input)]));
        return;
      }
      default:
        return;
    }
  }

  const ChannelAnalysis& a_;
  const int size_;
  std::vector<int> parent_;
  std::vector<bool> full_;
  std::vector<at::Tensor> kept_;  // of the root of each chain
  bool changed_ = false;
};

}  // namespace

std::vector<at::Tensor> KeptChannels(const ChannelAnalysis& analysis, int64_t channel_multiple) {
  return Chains(analysis, channel_multiple).Kept();
}

}  // namespace prunelab
