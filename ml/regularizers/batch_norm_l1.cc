#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/regularizers/batch_norm_l1.pb.h"
#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/layer_penalty.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<Regularizer>> CreateBatchNormL1(const BatchNormL1& parameters,
                                                               const NetworkInfo& network) {
  std::vector<std::string> offered;
  for (const Node& node : network.network().node()) {
    if (node.has_batch_norm2d()) offered.push_back(node.name());
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> norms,
                            SelectNodes(parameters.layers(), offered, "batch normalization"));
  return MakeLayerPenalty(std::move(norms), [](const RegularizedLayer& layer, PenaltySum& sum) {
    sum.Add(layer.weight.abs().sum());  // gamma
  });
}
const bool registered = RegisterRegularizer(&CreateBatchNormL1);

}  // namespace
}  // namespace prunelab
