#include "ml/compression/joined_channels.h"

#include <ATen/ATen.h>

#include "absl/strings/str_cat.h"
#include "ml/compression/channel_analysis.h"

namespace prunelab {

std::vector<std::string> DeadChannelsThatStay(const WeightedNetwork& network) {
  const ChannelAnalysis analysis(network);
  std::vector<std::string> sentences;
  for (int i = 0; i < analysis.info.network().node_size(); ++i) {
    if (analysis.relations[i].kind != ChannelRelation::Kind::kJoined || !analysis.AnyKept(i)) continue;
    const int input = analysis.info.inputs(i)[0];
    const int64_t dead = analysis.live[input].logical_not().sum().item<int64_t>();
    if (dead == 0) continue;
    sentences.push_back(absl::StrCat(
        analysis.info.node(i).name(), " (", analysis.info.op(i).Name(), ") computes with all ",
        analysis.info.shape(input).channels, " channels of ", analysis.info.node(input).name(), ", so ", dead,
        dead == 1 ? " that is the same for every image stays" : " that are the same for every image stay"));
  }
  return sentences;
}

}  // namespace prunelab
