#include "ml/regularizers/group_norms.h"

#include <ATen/ATen.h>

#include "ml/regularizers/live_filters.h"

namespace prunelab {

at::Tensor FilterNormSum(const RegularizedLayer& layer) {
  return at::linalg_vector_norm(FilterRows(AppliedWeight(layer)), 2, at::IntArrayRef{1}).sum();
}

at::Tensor ChannelNormSum(const RegularizedLayer& layer, int64_t conv_groups) {
  const at::Tensor& weight = layer.weight;
  const at::Tensor grouped =
      AppliedWeight(layer).reshape({conv_groups, weight.size(0) / conv_groups, weight.size(1), -1});
  return at::linalg_vector_norm(grouped, 2, at::IntArrayRef{1, 3}).sum();
}

std::map<std::string, int64_t> ConvGroups(const std::set<std::string>& convs, const NetworkInfo& network) {
  std::map<std::string, int64_t> groups;
  for (const std::string& node : convs) groups[node] = network.node(network.Index(node)).conv2d().groups();
  return groups;
}

}  // namespace prunelab
