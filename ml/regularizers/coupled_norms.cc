#include "ml/regularizers/coupled_norms.h"

#include <ATen/ATen.h>

#include <cstdint>
#include <utility>

#include "ml/base/check.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {

CoupledNorms::CoupledNorms(const NetworkInfo& network) : network_(network) {
  const std::vector<ChannelGroup> groups = FindChannelGroups(network_);
  for (const GroupSet& set : SetsOf(groups, network_)) {
    // The channels of a node's part, one group after the other: each has as many of them.
    std::map<std::pair<Part, std::string>, std::vector<int64_t>> channels;
    for (const size_t group : set.groups) {
      for (const auto& [part, of_part] : {std::pair(Part::kFilters, &groups[group].filters),
                                          {Part::kReaders, &groups[group].readers},
                                          {Part::kScales, &groups[group].batch_norms}}) {
        for (const auto& [node, channel] : *of_part) channels[{part, node}].push_back(channel);
      }
    }
    std::vector<Term>& terms = sets_.emplace_back();
    const auto n = static_cast<int64_t>(set.groups.size());
    for (const auto& [place, of_groups] : channels) {
      PRUNELAB_CHECK(of_groups.size() % set.groups.size() == 0) << place.second;
      terms.push_back({place.second, place.first, at::tensor(of_groups, at::kLong).view({n, -1})});
    }
  }
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
      const at::Tensor of_groups = by_channel.index({term.channels.to(squares.device())}).sum(1);
      sum = sum.defined() ? sum + of_groups : of_groups;
    }
    if (sum.defined()) sums.push_back(std::move(sum));
  }
  return sums;
}

}  // namespace prunelab
