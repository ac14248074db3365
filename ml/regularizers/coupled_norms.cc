#include "ml/regularizers/coupled_norms.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdint>
#include <utility>

#include "ml/regularizers/live_filters.h"

namespace prunelab {

CoupledNorms::CoupledNorms(const NetworkInfo& network) : network_(network) {
  const std::vector<ChannelGroup> groups = FindChannelGroups(network_);
  for (const GroupSet& set : SetsOf(groups, network_)) {
    // By part and node: the channels of each group.
    std::map<std::pair<Part, std::string>, std::vector<std::vector<int64_t>>> channels;
    for (size_t g = 0; g < set.groups.size(); ++g) {
      const ChannelGroup& group = groups[set.groups[g]];
      for (const auto& [part, of_part] : {std::pair(Part::kFilters, &group.filters),
                                          {Part::kReaders, &group.readers},
                                          {Part::kScales, &group.batch_norms}}) {
        for (const auto& [node, channel] : *of_part) {
          std::vector<std::vector<int64_t>>& of_groups = channels[{part, node}];
          of_groups.resize(set.groups.size());
          of_groups[g].push_back(channel);
        }
      }
    }
    std::vector<Term>& terms = sets_.emplace_back();
    for (const auto& [place, of_groups] : channels) {
      const auto& [part, node] = place;
      size_t most = 0;
      for (const std::vector<int64_t>& of_group : of_groups) most = std::max(most, of_group.size());
      const int i = network_.Index(node);
      const int64_t all = network_.shape(part == Part::kReaders ? network_.inputs(i)[0] : i).channels;
      at::Tensor index = at::full({static_cast<int64_t>(of_groups.size()), static_cast<int64_t>(most)}, all, at::kLong);
      auto entry = index.accessor<int64_t, 2>();
      for (size_t g = 0; g < of_groups.size(); ++g) {
        for (size_t c = 0; c < of_groups[g].size(); ++c) entry[g][c] = of_groups[g][c];
      }
      terms.push_back({node, part, index, {}});
    }
  }
}

at::Tensor CoupledNorms::On(const Term& term, at::Device device) {
  if (device.is_cpu()) return term.channels;
  if (!term.on_device.defined() || term.on_device.device() != device) term.on_device = term.channels.to(device);
  return term.on_device;
}

std::vector<at::Tensor> CoupledNorms::Squares(const std::vector<RegularizedLayer>& layers) const {
  std::map<std::string, const RegularizedLayer*> by_node;
  for (const RegularizedLayer& layer : layers) by_node[layer.node] = &layer;
  std::vector<at::Tensor> sums;
  for (const std::vector<Term>& terms : sets_) {
    at::Tensor sum;
    for (const Term& term : terms) {
      const auto found = by_node.find(term.node);
      if (found == by_node.end()) continue;  // a batch norm without a scale
      const at::Tensor squares = AppliedWeight(*found->second).square();
      const at::Tensor by_channel = term.part == Part::kScales ? squares
                                    : term.part == Part::kReaders
                                        ? SumByInput(network_, term.node, squares)
                                        : ByOutput(network_, term.node, squares).flatten(1).sum(1);
      const at::Tensor with_none = at::constant_pad_nd(by_channel, {0, 1}, 0);
      const at::Tensor of_groups = with_none.index({On(term, squares.device())}).sum(1);
      sum = sum.defined() ? sum + of_groups : of_groups;
    }
    sums.push_back(std::move(sum));
  }
  return sums;
}

}  // namespace prunelab
