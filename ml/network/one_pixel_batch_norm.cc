#include "ml/network/one_pixel_batch_norm.h"

namespace prunelab {

std::string OnePixelBatchNorm(const NetworkInfo& network) {
  for (int i = 0; i < network.network().node_size(); ++i) {
    const NodeShape& shape = network.shape(i);
    if (network.node(i).op_case() == Node::kBatchNorm2D && shape.height * shape.width == 1) {
      return network.node(i).name();
    }
  }
  return "";
}

}  // namespace prunelab
