#include "ml/compression/without_groups.h"

#include <ATen/ATen.h>

#include "ml/compression/network_rewriter.h"

namespace prunelab {

WeightedNetwork WithoutGroups(const WeightedNetwork& network, const NetworkInfo& info, const ChannelGroups& grouping,
                              const std::vector<bool>& goes) {
  std::vector<at::Tensor> kept;  // by node, bool [channels]
  for (int i = 0; i < info.network().node_size(); ++i) kept.push_back(grouping.Kept(i, goes));
  WeightedNetwork narrowed = network;
  NetworkRewriter rewriter(narrowed);
  for (int i = 0; i < info.network().node_size(); ++i) {
    RemainingChannels remaining = {kept[i], {}};
    for (const int input : info.inputs(i)) remaining.inputs.push_back(kept[input]);
    rewriter.NarrowParameters(info, i, remaining);
    info.op(i).Narrow(*rewriter.AppendCopy(info.node(i)), remaining);
  }
  rewriter.Finish();
  return narrowed;
}

int64_t KeepTheLast(const NetworkInfo& info, const ChannelGroups& grouping, const std::vector<double>& importances,
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

}  // namespace prunelab
