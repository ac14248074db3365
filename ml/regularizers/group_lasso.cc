#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "ml/base/status_macros.h"
#include "ml/regularizers/group_lasso.pb.h"
#include "ml/regularizers/group_norms.h"
#include "ml/regularizers/layer_penalty.h"

namespace prunelab {
namespace {

double Factor(const GroupLasso& parameters, int64_t size) {
  return parameters.square_root_of_size() ? std::sqrt(static_cast<double>(size)) : 1;
}

void Add(const GroupLasso& parameters, int64_t conv_groups, const RegularizedLayer& layer, PenaltySum& sum) {
  const at::Tensor& weight = layer.weight;
  const int64_t filter_size = weight.numel() / weight.size(0);
  const int64_t channel_size = weight.numel() / (weight.size(1) * conv_groups);
  if (parameters.groups() != GroupLasso::INPUT_CHANNELS) {
    sum.Add(FilterNormSum(layer) * Factor(parameters, filter_size));
  }
  if (parameters.groups() != GroupLasso::FILTERS) {
    sum.Add(ChannelNormSum(layer, conv_groups) * Factor(parameters, channel_size));
  }
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateGroupLasso(const GroupLasso& parameters,
                                                              const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, PenalizedConvs(parameters, network));
  const std::map<std::string, int64_t> groups = ConvGroups(convs, network);
  return MakeLayerPenalty(std::move(convs), [=](const RegularizedLayer& layer, PenaltySum& sum) {
    Add(parameters, groups.at(layer.node), layer, sum);
  });
}
const bool registered = RegisterRegularizer(&CreateGroupLasso);

}  // namespace
}  // namespace prunelab
