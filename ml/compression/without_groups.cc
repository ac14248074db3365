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

}  // namespace prunelab
