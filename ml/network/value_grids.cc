#include "ml/network/value_grids.h"

#include "ml/network/operator.h"

namespace prunelab {

std::vector<int> ValueGrids(const NetworkInfo& info) {
  std::vector<int> grids(info.network().node_size(), -1);
  for (int i = 0; i < info.network().node_size(); ++i) {
    const Node& node = info.node(i);
    if (node.op_case() == Node::kFakeQuantize) grids[i] = i;
    if (info.inputs(i).size() == 1 && info.op(i).KeepsValues(node)) grids[i] = grids[info.inputs(i)[0]];
  }
  return grids;
}

bool IsQuantized(const Network& network) {
  for (const Node& node : network.node()) {
    if (node.has_fake_quantize() || node.conv2d().has_weight_bits() || node.linear().has_weight_bits()) return true;
  }
  return false;
}

}  // namespace prunelab
