#include "ml/compression/kept_channels.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace prunelab {
namespace {

using Kind = ChannelRelation::Kind;

class Chains {
 public:
  Chains(const ChannelAnalysis& analysis, const ChannelLayout& layout, ReadConstants constants)
      : a_(analysis), layout_(layout), size_(a_.info.network().node_size()) {
    for (int i = 0; i < size_; ++i) {
      parent_.push_back(i);
      const bool widened = a_.starts_stream[i] && WidthsOf(i).streams != Streams::kFull;  // by a scatter after it
      full_.push_back(a_.info.IsOutput(i) || (a_.carries_stream[i] && !widened));
    }
    for (int i = 0; i < size_; ++i) Link(i);
    for (int i = 0; i < size_; ++i) {
      kept_.push_back(a_.Kept(i));
      if (i != Root(i)) full_[Root(i)] = full_[Root(i)] || full_[i];
    }
    for (int i = 0; i < size_; ++i) {
      if (i != Root(i)) Mark(i, kept_[i]);
      if (full_[Root(i)] && (a_.AnyKept(i) || a_.info.IsOutput(i))) kept_[Root(i)] = at::ones_like(kept_[i]);
    }
    for (int i = 0; i < size_ && constants == ReadConstants::kStay; ++i) KeepReadConstants(i);
    for (int i = 0; i < size_; ++i) {
      // What is put together of several inputs has the width that they have.
      const bool is_joined = a_.relations[i].kind == Kind::kMapped && a_.info.inputs(i).size() > 1;
      if (i == Root(i) && !is_joined) RoundUp(i, kept_[i], WidthsOf(i).multiple);
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
      const bool needed = a_.AnyKept(i) || a_.info.IsOutput(i) || i == a_.info.image();
      kept.push_back(needed ? kept_[Root(i)] : at::zeros_like(kept_[i]));
    }
    return kept;
  }

 private:
  const ChannelLayout::Widths& WidthsOf(int i) const { return layout_.Of(a_.info.shape(i)); }

  int Root(int i) const { return parent_[i] == i ? i : Root(parent_[i]); }

  // Joins a node with the input whose channels it passes on one by one.
  void Link(int i) {
    if (a_.relations[i].kind != Kind::kSame && a_.relations[i].kind != Kind::kJoined) return;
    const std::vector<int>& inputs = a_.info.inputs(i);
    // A norm over channels computes with all of them.
    if (a_.relations[i].kind == Kind::kJoined) full_[i] = true;
    if (a_.IsResidualSum(i)) {
      // Features cannot be scattered into a stream.
      const bool full = a_.info.shape(i).flat || WidthsOf(i).streams == Streams::kFull;
      for (size_t k = 0; k < inputs.size(); ++k) {
        if (full && a_.Contributes(i, k)) full_[inputs[k]] = true;
      }
      return;
    }
    for (size_t k = 0; k < inputs.size(); ++k) {
      if (inputs.size() > 1 && !a_.Contributes(i, k)) continue;
      if (!a_.carries_stream[inputs[k]]) parent_[Root(i)] = Root(inputs[k]);
    }
  }

  void KeepReadConstants(int i) {
    if (a_.relations[i].kind != Kind::kMixed || a_.relations[i].groups > 1 || !a_.AnyKept(i)) return;
    const int input = a_.info.inputs(i)[0];
    if (a_.carries_stream[input]) return;
    const at::Tensor differs = a_.constants[input].values.flatten(1).ne(0).any(1) & a_.live[input].logical_not();
    if (differs.any().item<bool>()) Mark(input, a_.ReadFrom(i, 0, at::ones_like(kept_[i])) & differs);
  }

  void Mark(int i, const at::Tensor& also) {
    at::Tensor& kept = kept_[Root(i)];
    const at::Tensor both = kept | also;
    if (at::equal(both, kept)) return;
    kept = both;
    changed_ = true;
  }

  void RoundUp(int root, at::Tensor& kept, int64_t multiple) {
    const int64_t count = kept.sum().item<int64_t>();
    if (count == 0 || count % multiple == 0) return;
    const int64_t wanted = std::min(kept.numel(), (count / multiple + 1) * multiple);
    // Live channels first, then those that bring most, then the lowest.
    const at::Tensor order = Brought(root)
                                 .masked_fill(kept, std::numeric_limits<double>::infinity())
                                 .argsort(/*stable=*/true, 0, /*descending=*/true);
    const at::Tensor dead = order.slice(0, count, wanted);
    kept = kept.index_fill(0, dead, true);
  }

  // The size of the constants that the chain's channels bring to convolutions of one group, which alone can be carried
  // by one of them. What grouped convolutions read, or write, stays in the channels' order: both sides must agree.
  at::Tensor Brought(int root) const {
    at::Tensor brought = at::zeros({kept_[root].numel()}, at::kDouble);
    if (a_.relations[root].kind == Kind::kMixed && a_.relations[root].groups > 1) return brought;
    for (int i = root; i < size_; ++i) {
      if (Root(i) != root) continue;
      for (const int user : a_.info.users(i)) {
        if (a_.relations[user].kind != Kind::kMixed) continue;
        if (a_.relations[user].groups > 1) return at::zeros_like(brought);
        const at::Tensor pixels = a_.constants[i].values.flatten(1).select(1, 0).abs();
        brought = at::maximum(brought, pixels.masked_fill(a_.IsEven(i).logical_not(), 0));
      }
    }
    return brought;
  }

  void Close(int i) {
    const ChannelRelation& relation = a_.relations[i];
    if (relation.kind == Kind::kMapped) {
      for (size_t k = 0; k < a_.info.inputs(i).size(); ++k) CloseMapped(i, k);
    } else if (relation.kind == Kind::kMixed && relation.groups > 1) {
      CloseGroups(i, relation.groups);
    }
  }

  // Channels that are made of channels of input k stay with them, and they with those.
  void CloseMapped(int i, size_t k) {
    if (!a_.Contributes(i, k)) return;
    const ChannelRelation& relation = a_.relations[i];
    const int input = a_.info.inputs(i)[k];
    const bool from_stream = a_.carries_stream[input];
    if (!from_stream) Mark(input, ToInputs(relation, k, kept_[Root(i)], kept_[Root(input)].numel()));
    if (!relation.picks.empty() && relation.picks[k]) return;
    Mark(i, ToOutputs(relation, k, from_stream ? at::ones_like(kept_[Root(input)]) : kept_[Root(input)]));
  }

  // A group of a convolution stays with any of its channels, on either side, and groups that stay are equally wide.
  void CloseGroups(int i, int64_t groups) {
    const int input = a_.info.inputs(i)[0];
    const at::Tensor kept = kept_[Root(i)].view({groups, -1}), kept_inputs = kept_[Root(input)].view({groups, -1});
    const bool from_stream = a_.carries_stream[input];
    const at::Tensor stay = from_stream ? at::ones({groups}, at::kBool) : kept.any(1) | kept_inputs.any(1);
    Mark(i, Evened(kept, stay));
    if (!from_stream) Mark(input, Evened(kept_inputs, stay));
  }

  // `kept` [groups, channels] with channels added, the lowest first, so that each group that stays has as many as the
  // one that has most, at least one. Bool [groups * channels].
  static at::Tensor Evened(const at::Tensor& kept, const at::Tensor& stay) {
    const int64_t most = std::max<int64_t>(1, kept.sum(1).max().item<int64_t>());
    // Channels in the order in which they are taken: first those that are kept.
    const at::Tensor order = kept.logical_not().to(at::kByte).argsort(/*stable=*/true, 1, /*descending=*/false);
    const at::Tensor taken = at::zeros_like(kept).scatter(1, order.slice(1, 0, most), true);
    return (taken & stay.unsqueeze(1)).view(-1);
  }

  const ChannelAnalysis& a_;
  const ChannelLayout& layout_;
  const int size_;
  std::vector<int> parent_;
  std::vector<bool> full_;
  std::vector<at::Tensor> kept_;  // of the root of each chain
  bool changed_ = false;
};

}  // namespace

std::vector<at::Tensor> KeptChannels(const ChannelAnalysis& analysis, const ChannelLayout& layout,
                                     ReadConstants constants) {
  return Chains(analysis, layout, constants).Kept();
}

}  // namespace prunelab
