#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/decov.pb.h"
#include "ml/regularizers/layer_penalty.h"

namespace prunelab {
namespace {

class DecovPenalty : public Regularizer {
 public:
  DecovPenalty(bool pixels, std::set<std::string> nodes) : pixels_(pixels), nodes_(std::move(nodes)) {}

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override { return {}; }

  std::set<std::string> activation_nodes() const override { return nodes_; }

  at::Tensor ActivationValue(const std::map<std::string, at::Tensor>& activations) const override {
    PenaltySum sum;
    for (const std::string& node : nodes_) {
      const at::Tensor observations = Observations(activations.at(node));
      const at::Tensor centred = observations - observations.mean(0, /*keepdim=*/true);
      const at::Tensor covariance = centred.t().mm(centred) / observations.size(0);
      sum.Add(covariance.triu(1).square().sum());  // each pair once: half of the whole matrix
    }
    return sum.value();
  }

 private:
  // [observations, variables].
  at::Tensor Observations(const at::Tensor& activation) const {
    if (activation.dim() == 2) return activation;
    if (!pixels_) return activation.mean({2, 3});
    return activation.permute({0, 2, 3, 1}).reshape({-1, activation.size(1)});
  }

  bool pixels_;
  std::set<std::string> nodes_;
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateDecov(const Decov& parameters, const NetworkInfo& network) {
  const auto computed = [&](int i) { return !network.node(i).has_image() && !network.node(i).has_constant(); };
  std::vector<std::string> offered;
  for (int i = 0; i < network.network().node_size(); ++i) {
    if (parameters.has_nodes()) {
      if (computed(i)) offered.push_back(network.node(i).name());
    } else if (network.node(i).has_linear() && computed(network.inputs(i)[0])) {
      offered.push_back(network.node(network.inputs(i)[0]).name());
    }
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes,
                            SelectNodes(parameters.nodes(), offered,
                                        parameters.has_nodes() ? "node" : "node that a linear layer reads", "nodes"));
  return std::make_unique<DecovPenalty>(parameters.spatial() == Decov::PIXELS, std::move(nodes));
}
const bool registered = RegisterRegularizer(&CreateDecov);

}  // namespace
}  // namespace prunelab
