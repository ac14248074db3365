#include "ml/compression/coupled.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "ml/compression/network_rewriter.h"

namespace prunelab {
namespace {

using Kind = ChannelRelation::Kind;

// Whether the node has filters.
bool IsMixed(const NetworkInfo& info, int i) { return info.op(i).Channels(info.View(i)).kind == Kind::kMixed; }

// Which channels of all nodes are tied, by union-find over (node, channel).
class Ties {
 public:
  explicit Ties(const NetworkInfo& info) : info_(info) {
    for (int i = 0; i < info.network().node_size(); ++i) {
      first_.push_back(static_cast<int64_t>(parent_.size()));
      for (int64_t c = 0; c < info.shape(i).channels; ++c) parent_.push_back(static_cast<int64_t>(parent_.size()));
    }
    fixed_.assign(parent_.size(), false);
    for (int i = 0; i < info.network().node_size(); ++i) TieNode(i);
    for (const int output : info.outputs()) {
      for (int64_t c = 0; c < info.shape(output).channels; ++c) Fix(output, c);
    }
  }

  int64_t Root(int i, int64_t channel) const { return Root(first_[i] + channel); }
  bool Fixed(int64_t root) const { return fixed_[root]; }

 private:
  int64_t Root(int64_t x) const {
    while (parent_[x] != x) x = parent_[x];
    return x;
  }

  void Fix(int i, int64_t channel) { fixed_[Root(i, channel)] = true; }

  void Tie(int i, int64_t a, int j, int64_t b) {
    const int64_t x = Root(i, a), y = Root(j, b);
    if (x == y) return;
    // The earlier one is the root. Paths stay short, because chains are followed from their starts.
    const int64_t low = std::min(x, y), high = std::max(x, y);
    parent_[high] = low;
    fixed_[low] = fixed_[low] || fixed_[high];
  }

  void TieNode(int i) {
    const int64_t channels = info_.shape(i).channels;
    if (i == info_.image()) {
      for (int64_t c = 0; c < channels; ++c) Fix(i, c);
      return;
    }
    const ChannelRelation relation = info_.op(i).Channels(info_.View(i));
    const std::vector<int>& inputs = info_.inputs(i);
    if (relation.kind == Kind::kMixed) {
      if (relation.groups > 1) TieChannelsOfGroups(i, inputs[0], relation.groups);
      return;
    }
    if (relation.kind == Kind::kJoined && relation.groups > 1) {
      TieGroups(i, inputs[0], relation.groups);
      return;
    }
    for (size_t k = 0; k < inputs.size(); ++k) {
      // A single channel that is repeated for those of another input is tied to none of them.
      if (inputs.size() > 1 && !relation.picks.empty() && relation.picks[k]) continue;
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = relation.kind == Kind::kMapped ? relation.from[k][c] : c;
        if (from >= 0) Tie(i, c, inputs[k], from);
      }
    }
  }

  // Groups of several channels on both sides stay, and become narrower by the same channels each. Of other ones, such
  // as those of a depthwise convolution, each goes as a whole.
  void TieChannelsOfGroups(int i, int input, int64_t groups) {
    const int64_t in = info_.shape(input).channels / groups, out = info_.shape(i).channels / groups;
    if (in == 1 || out == 1) {
      TieGroups(i, input, groups);
      return;
    }
    for (int64_t g = 1; g < groups; ++g) {
      for (int64_t c = 0; c < in; ++c) Tie(input, c, input, g * in + c);
      for (int64_t c = 0; c < out; ++c) Tie(i, c, i, g * out + c);
    }
  }

  void TieGroups(int i, int input, int64_t groups) {
    const int64_t in = info_.shape(input).channels / groups, out = info_.shape(i).channels / groups;
    for (int64_t g = 0; g < groups; ++g) {
      for (int64_t c = 0; c < in; ++c) Tie(i, g * out, input, g * in + c);
      for (int64_t c = 1; c < out; ++c) Tie(i, g * out, i, g * out + c);
    }
  }

  const NetworkInfo& info_;
  std::vector<int64_t> first_, parent_;
  std::vector<bool> fixed_;
};

// The groups of a network's filters.
class Grouping {
 public:
  explicit Grouping(const NetworkInfo& info) : info_(info), ties_(info) {
    for (int i = 0; i < info.network().node_size(); ++i) {
      if (!IsMixed(info, i)) continue;
      for (int64_t c = 0; c < info.shape(i).channels; ++c) {
        const int64_t root = ties_.Root(i, c);
        if (ties_.Fixed(root)) continue;
        const auto [place, is_new] = of_root_.emplace(root, static_cast<int64_t>(groups_.size()));
        if (is_new) groups_.emplace_back();
        groups_[place->second].filters.emplace_back(info.node(i).name(), c);
      }
    }
  }

  const std::vector<ChannelGroup>& groups() const { return groups_; }

  // The group of a channel; -1 if it is in none: a channel of the images, the logits, a constant, or a scatter where
  // nothing is put. Such channels stay.
  int64_t Of(int i, int64_t channel) const {
    const auto found = of_root_.find(ties_.Root(i, channel));
    return found == of_root_.end() ? -1 : found->second;
  }

  // The channels of node i that stay: bool [channels].
  at::Tensor Kept(int i, const std::vector<bool>& goes) const {
    const at::Tensor kept = at::ones({info_.shape(i).channels}, at::kBool);
    for (int64_t c = 0; c < kept.numel(); ++c) {
      const int64_t group = Of(i, c);
      if (group >= 0) kept.data_ptr<bool>()[c] = !goes[group];
    }
    return kept;
  }

 private:
  const NetworkInfo& info_;
  const Ties ties_;
  std::vector<ChannelGroup> groups_;
  std::map<int64_t, int64_t> of_root_;  // root of the ties -> group
};

// Of each group the mean over its filters of their mean |weight|.
std::vector<double> Importances(const WeightedNetwork& network, const NetworkInfo& info,
                                const std::vector<ChannelGroup>& groups) {
  std::map<std::string, at::Tensor> of_filters;
  std::vector<double> importances;
  for (const ChannelGroup& group : groups) {
    double sum = 0;
    for (const auto& [node, filter] : group.filters) {
      at::Tensor& mean = of_filters[node];
      if (!mean.defined()) {
        const int i = info.Index(node);
        const at::Tensor weight =
            info.op(i).ByOutput(network.Get(node, "weight"), info.op(i).Channels(info.View(i)).groups);
        mean = weight.to(at::kDouble).abs().flatten(1).mean(1).contiguous();
      }
      sum += mean.data_ptr<double>()[filter];
    }
    importances.push_back(sum / static_cast<double>(group.filters.size()));
  }
  return importances;
}

// Which groups should go.
std::vector<bool> Chosen(const std::vector<double>& importances, const std::optional<double>& rate) {
  std::vector<size_t> order(importances.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return importances[a] < importances[b]; });
  std::vector<bool> goes(order.size(), false);
  for (size_t k = 0; k < order.size(); ++k) {
    goes[order[k]] =
        rate ? k < static_cast<size_t>(*rate * static_cast<double>(order.size())) : importances[order[k]] == 0;
  }
  return goes;
}

// No node is left without channels: its most important group stays. Returns how many stay for that.
int64_t KeepTheLast(const NetworkInfo& info, const Grouping& grouping, const std::vector<double>& importances,
                    std::vector<bool>& goes) {
  int64_t kept = 0;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (grouping.Kept(i, goes).any().item<bool>()) continue;
    int64_t best = grouping.Of(i, 0);
    for (int64_t c = 1; c < info.shape(i).channels; ++c) {
      const int64_t group = grouping.Of(i, c);
      if (importances[group] > importances[best]) best = group;
    }
    goes[best] = false;
    ++kept;
  }
  return kept;
}

// `kept`: by node, bool [channels].
void Narrow(WeightedNetwork& network, const NetworkInfo& info, const std::vector<at::Tensor>& kept) {
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    RemainingChannels remaining = {kept[i], {}};
    for (const int input : info.inputs(i)) remaining.inputs.push_back(kept[input]);
    rewriter.NarrowParameters(info, i, remaining);
    info.op(i).Narrow(*rewriter.AppendCopy(info.node(i)), remaining);
  }
  rewriter.Finish();
}

}  // namespace

std::vector<ChannelGroup> FindChannelGroups(const NetworkInfo& info) { return Grouping(info).groups(); }

absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options) {
  if (options.rate && !(*options.rate >= 0 && *options.rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("rate is ", *options.rate, "; must be at least 0 and below 1"));
  }
  const NetworkInfo info = network.Info();
  const Grouping grouping(info);
  const std::vector<double> importances = Importances(network, info, grouping.groups());
  std::vector<bool> goes = Chosen(importances, options.rate);
  CoupledRemoval removal;
  removal.groups = static_cast<int64_t>(goes.size());
  removal.kept = KeepTheLast(info, grouping, importances, goes);
  removal.removed = std::count(goes.begin(), goes.end(), true);
  std::vector<at::Tensor> kept;
  for (int i = 0; i < info.network().node_size(); ++i) kept.push_back(grouping.Kept(i, goes));
  Narrow(network, info, kept);
  return removal;
}

}  // namespace prunelab
