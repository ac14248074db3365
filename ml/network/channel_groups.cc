#include "ml/network/channel_groups.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/network/operator.h"

namespace prunelab {
namespace {

using Kind = ChannelRelation::Kind;

// E.g. "conv2d".
std::string KindOf(const Node& node) { return Node::descriptor()->FindFieldByNumber(node.op_case())->name(); }

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

}  // namespace

ChannelGroups::ChannelGroups(const NetworkInfo& info) {
  const Ties ties(info);
  const int nodes = info.network().node_size();
  std::map<int64_t, int64_t> of_root;  // root of the ties -> group
  for (int i = 0; i < nodes; ++i) {
    if (!IsMixed(info, i)) continue;
    for (int64_t c = 0; c < info.shape(i).channels; ++c) {
      const int64_t root = ties.Root(i, c);
      if (ties.Fixed(root)) continue;
      const auto [place, is_new] = of_root.emplace(root, static_cast<int64_t>(groups_.size()));
      if (is_new) groups_.emplace_back();
      groups_[place->second].filters.emplace_back(info.node(i).name(), c);
    }
  }
  for (int i = 0; i < nodes; ++i) {
    of_channel_.emplace_back();
    for (int64_t c = 0; c < info.shape(i).channels; ++c) {
      const auto found = of_root.find(ties.Root(i, c));
      of_channel_.back().push_back(found == of_root.end() ? -1 : found->second);
    }
  }
  for (int i = 0; i < nodes; ++i) {
    if (info.node(i).op_case() == Node::kBatchNorm2D) {
      for (int64_t c = 0; c < info.shape(i).channels; ++c) {
        if (Of(i, c) >= 0) groups_[Of(i, c)].batch_norms.emplace_back(info.node(i).name(), c);
      }
    }
    if (!IsMixed(info, i)) continue;
    const int input = info.inputs(i)[0];
    const int64_t channels = info.shape(input).channels;
    // What a group of one channel reads goes with its filter.
    if (info.op(i).Channels(info.View(i)).groups == channels && channels > 1) continue;
    for (int64_t c = 0; c < channels; ++c) {
      if (Of(input, c) >= 0) groups_[Of(input, c)].readers.emplace_back(info.node(i).name(), c);
    }
  }
}

at::Tensor ChannelGroups::Kept(int i, const std::vector<bool>& goes) const {
  const auto channels = static_cast<int64_t>(of_channel_[i].size());
  const at::Tensor kept = at::ones({channels}, at::kBool);
  for (int64_t c = 0; c < channels; ++c) {
    if (Of(i, c) >= 0) kept.data_ptr<bool>()[c] = !goes[Of(i, c)];
  }
  return kept;
}

std::vector<ChannelGroup> FindChannelGroups(const NetworkInfo& info) { return ChannelGroups(info).groups(); }

int64_t GroupsToGo(int64_t n, double rate, size_t scope) {
  // Multiples of the golden ratio lie evenly in [0, 1), whatever their number. The first is 0: a scope by itself loses
  // int(n * rate).
  const double spread = std::fmod(0.6180339887498949 * static_cast<double>(scope), 1.0);
  const double part = rate * static_cast<double>(n);
  // What is spread empties no scope.
  return std::max(static_cast<int64_t>(part), std::min(static_cast<int64_t>(part + (rate > 0 ? spread : 0)), n - 1));
}

at::Tensor ByOutput(const NetworkInfo& info, const std::string& node, const at::Tensor& values) {
  const int i = info.Index(node);
  return info.op(i).ByOutput(values, info.op(i).Channels(info.View(i)).groups);
}

at::Tensor SumByInput(const NetworkInfo& info, const std::string& node, const at::Tensor& values) {
  // [groups, outputs, inputs, ...] of each group -> [groups * inputs]
  const at::Tensor by_output = ByOutput(info, node, values);
  const int i = info.Index(node);
  const int64_t groups = info.op(i).Channels(info.View(i)).groups;
  return by_output.reshape({groups, by_output.size(0) / groups, by_output.size(1), -1})
      .sum(at::IntArrayRef({1, 3}))
      .flatten();
}

std::vector<GroupSet> SetsOf(const std::vector<ChannelGroup>& groups, const NetworkInfo& info) {
  std::vector<GroupSet> sets;
  std::map<std::string, size_t> of_layers;
  for (size_t g = 0; g < groups.size(); ++g) {
    std::vector<std::string> layers, kinds;
    for (const auto& [part, channels] : {std::pair("filters", &groups[g].filters),
                                         {"readers", &groups[g].readers},
                                         {"batch norms", &groups[g].batch_norms}}) {
      std::set<std::string> nodes;
      for (const auto& [node, channel] : *channels) nodes.insert(node);
      for (const std::string& node : nodes) {
        layers.push_back(absl::StrCat(part, " ", node));
        kinds.push_back(absl::StrCat(KindOf(info.node(info.Index(node))), " ", part));
      }
    }
    const auto [place, is_new] = of_layers.emplace(absl::StrJoin(layers, "\n"), sets.size());
    if (is_new) {
      std::sort(kinds.begin(), kinds.end());
      sets.push_back({{}, absl::StrJoin(kinds, ", ")});
    }
    sets[place->second].groups.push_back(g);
  }
  return sets;
}

}  // namespace prunelab
