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

// Which channels of all nodes are tied: union-find over (node, channel).
class Ties {
 public:
  explicit Ties(const NetworkInfo& info) : info_(info) {
    for (int i = 0; i < info.network().node_size(); ++i) {
      first_.push_back(static_cast<int64_t>(parent_.size()));
      for (int64_t c = 0; c < info.shape(i).channels; ++c) parent_.push_back(static_cast<int64_t>(parent_.size()));
    }
    fixed_.assign(parent_.size(), false);
    for (int i = 0; i < info.network().node_size(); ++i) TieNode(i);
    const int output = info.network().node_size() - 1;
    for (int64_t c = 0; c < info.shape(output).channels; ++c) Fix(output, c);
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
    // The earlier one is the root: paths stay short, as chains are followed from their starts.
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
      if (relation.groups > 1) TieGroups(i, inputs[0], relation.groups);
      return;
    }
    for (size_t k = 0; k < inputs.size(); ++k) {
      for (int64_t c = 0; c < channels; ++c) {
        const int64_t from = relation.kind == Kind::kSame ? c : relation.from[k][c];
        if (from >= 0) Tie(i, c, inputs[k], from);
      }
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

struct Groups {
  std::vector<ChannelGroup> groups;
  std::map<int64_t, int64_t> of_root;  // root of the ties -> index in `groups`
};

Groups Collect(const NetworkInfo& info, const Ties& ties) {
  Groups found;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (!IsMixed(info, i)) continue;
    for (int64_t c = 0; c < info.shape(i).channels; ++c) {
      const int64_t root = ties.Root(i, c);
      if (ties.Fixed(root)) continue;
      const auto [place, is_new] = found.of_root.emplace(root, static_cast<int64_t>(found.groups.size()));
      if (is_new) found.groups.emplace_back();
      found.groups[place->second].filters.emplace_back(info.node(i).name(), c);
    }
  }
  return found;
}

// Mean |weight| of each output of each convolution and linear layer.
std::map<std::string, std::vector<double>> Importances(const WeightedNetwork& network, const NetworkInfo& info) {
  std::map<std::string, std::vector<double>> importances;
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (!IsMixed(info, i)) continue;
    const std::string& name = info.node(i).name();
    const at::Tensor mean = network.Get(name, "weight").to(at::kDouble).abs().flatten(1).mean(1).contiguous();
    importances[name].assign(mean.data_ptr<double>(), mean.data_ptr<double>() + mean.numel());
  }
  return importances;
}

}  // namespace

std::vector<ChannelGroup> FindChannelGroups(const NetworkInfo& info) { return Collect(info, Ties(info)).groups; }

absl::StatusOr<CoupledRemoval> RemoveCoupled(WeightedNetwork& network, const CoupledOptions& options) {
  if (options.rate && !(*options.rate >= 0 && *options.rate < 1)) {
    return absl::InvalidArgumentError(absl::StrCat("rate is ", *options.rate, "; must be at least 0 and below 1"));
  }
  const NetworkInfo info = network.Info();
  const Ties ties(info);
  const Groups found = Collect(info, ties);
  const auto filter_importance = Importances(network, info);
  std::vector<double> importance;
  for (const ChannelGroup& group : found.groups) {
    double sum = 0;
    for (const auto& [node, filter] : group.filters) sum += filter_importance.at(node)[filter];
    importance.push_back(sum / static_cast<double>(group.filters.size()));
  }
  std::vector<size_t> order(found.groups.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return importance[a] < importance[b]; });
  CoupledRemoval removal;
  removal.groups = static_cast<int64_t>(order.size());
  std::vector<bool> goes(order.size(), false);
  for (size_t k = 0; k < order.size(); ++k) {
    goes[order[k]] = options.rate ? k < static_cast<size_t>(*options.rate * static_cast<double>(order.size()))
                                  : importance[order[k]] == 0;
  }

  // bool [channels] by node, as the groups say. Channels that no filter makes (of a constant, or of a scatter where
  // nothing is put) are in no group and stay.
  const auto kept_of = [&](int i) {
    std::vector<bool> kept;
    for (int64_t c = 0; c < info.shape(i).channels; ++c) {
      const auto group = found.of_root.find(ties.Root(i, c));
      kept.push_back(group == found.of_root.end() || !goes[group->second]);
    }
    return kept;
  };
  // No node is left without channels: its most important group stays.
  for (int i = 0; i < info.network().node_size(); ++i) {
    const std::vector<bool> kept = kept_of(i);
    if (std::find(kept.begin(), kept.end(), true) != kept.end()) continue;
    int64_t best = -1;
    for (int64_t c = 0; c < info.shape(i).channels; ++c) {
      const int64_t group = found.of_root.at(ties.Root(i, c));
      if (best < 0 || importance[group] > importance[best]) best = group;
    }
    goes[best] = false;
    ++removal.kept;
  }
  removal.removed = std::count(goes.begin(), goes.end(), true);

  std::vector<at::Tensor> kept(info.network().node_size());
  for (int i = 0; i < info.network().node_size(); ++i) {
    const std::vector<bool> flags = kept_of(i);
    kept[i] = at::empty({static_cast<int64_t>(flags.size())}, at::kBool);
    for (size_t c = 0; c < flags.size(); ++c) kept[i].data_ptr<bool>()[c] = flags[c];
  }
  NetworkRewriter rewriter(network);
  for (int i = 0; i < info.network().node_size(); ++i) {
    RemainingChannels remaining = {kept[i], {}};
    for (const int input : info.inputs(i)) remaining.inputs.push_back(kept[input]);
    rewriter.NarrowParameters(info, i, remaining);
    info.op(i).Narrow(*rewriter.AppendCopy(info.node(i)), remaining);
  }
  rewriter.Finish();
  return removal;
}

}  // namespace prunelab
