#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/network_slimming.pb.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"

namespace prunelab {
namespace {

class NetworkSlimmingStrategy : public OneTimePruning {
 public:
  NetworkSlimmingStrategy(const NetworkSlimming& parameters, std::map<std::string, std::string> batch_norms)
      : OneTimePruning(Granularity::kFilter, parameters.epoch()),
        parameters_(parameters),
        batch_norms_(std::move(batch_norms)) {
    ranking_.set_min_live_filters(parameters.min_live_filters());
  }

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    std::map<std::string, at::Tensor> scores;
    std::vector<at::Tensor> scales;
    for (const PrunableLayer& layer : layers) {
      const auto batch_norm = batch_norms_.find(layer.node);
      if (batch_norm == batch_norms_.end()) continue;
      scales.push_back(probe().Tensor(absl::StrCat(batch_norm->second, ".weight")).abs());
      scores[layer.node] = scales.back().view({-1, 1, 1, 1});
    }
    const at::Tensor all = at::cat(scales);
    if (parameters_.rate() > 0 && all.numel() > 1 && all.eq(all[0]).all().item<bool>()) {
      return absl::FailedPreconditionError(
          absl::StrCat("network_slimming: the scales of all ", all.numel(), " filters are ", all[0].item<double>(),
                       ", so that they cannot be ranked; train with the regularizer BatchNormL1 until a later epoch"));
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(ranking_, parameters_.rate(), scores, layers));
    for (const auto& [node, mask] : update.masks) {
      for (const char* suffix : {".weight", ".bias"}) {
        const std::string name = absl::StrCat(batch_norms_.at(node), suffix);
        update.new_weights[name] = probe().Tensor(name) * mask.flatten();
      }
    }
    return update;
  }

  const NetworkSlimming parameters_;
  const std::map<std::string, std::string> batch_norms_;  // by convolution
  Ranking ranking_;
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateNetworkSlimming(const NetworkSlimming& parameters,
                                                                       const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", parameters.min_live_filters(), 0));
  if (setup.fresh_weights && parameters.epoch() == 0 && parameters.rate() > 0) {
    return FieldError("epoch",
                      "is 0, where the weights are fresh and all scales of batch norms are 1, so that they cannot be "
                      "ranked; must be 1 or later (and train with the regularizer BatchNormL1 until then), or start "
                      "from trained initial_weights");
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  std::map<std::string, std::string> batch_norms = OwnBatchNorms(*setup.network, nodes);
  if (batch_norms.empty()) {
    return FieldError("layers", absl::StrCat("chooses ", nodes.size(),
                                             " convolutions, none with a batch norm that reads it alone; the scales "
                                             "of such batch norms are what is ranked"));
  }
  return std::make_unique<NetworkSlimmingStrategy>(parameters, std::move(batch_norms));
}
const bool registered = RegisterPruningStrategy(&CreateNetworkSlimming);

}  // namespace
}  // namespace prunelab
