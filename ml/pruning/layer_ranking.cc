#include "ml/pruning/layer_ranking.h"

#include <ATen/ops/mul.h>

#include <utility>

#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/ranking.h"

namespace prunelab {

absl::StatusOr<std::map<std::string, at::Tensor>> RankScores(const Ranking& ranking, double rate,
                                                             const std::map<std::string, at::Tensor>& scores,
                                                             const std::vector<PrunableLayer>& layers) {
  std::vector<RankedLayer> ranked;
  for (const PrunableLayer& layer : layers) {
    const auto found = scores.find(layer.node);
    if (found != scores.end()) ranked.push_back({layer.node, found->second});
  }
  PRUNELAB_ASSIGN_OR_RETURN(auto masks, RankMasks(ranking, rate, ranked));
  for (const PrunableLayer& layer : layers) {
    const auto mask = masks.find(layer.node);
    if (mask != masks.end()) mask->second = mask->second.to(layer.weight.options().requires_grad(false));
  }
  return masks;
}

absl::StatusOr<LayerRanking> LayerRanking::Create(LayerRankingOptions options, const NetworkInfo& network) {
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(options.ranking)));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(options.layers, network));
  return LayerRanking(std::move(options), std::move(nodes));
}

absl::StatusOr<std::map<std::string, at::Tensor>> LayerRanking::Masks(double rate,
                                                                      const std::vector<PrunableLayer>& layers) const {
  std::map<std::string, at::Tensor> scores;
  for (const PrunableLayer& layer : layers) {
    if (!nodes_.count(layer.node)) continue;
    PrunableLayer read = layer;
    if (options_.of_masked_weights) read.weight = at::mul(layer.weight, layer.mask);
    PRUNELAB_ASSIGN_OR_RETURN(scores[layer.node], LayerScores(options_.scores, options_.granularity, read));
  }
  PRUNELAB_CHECK(scores.size() == nodes_.size()) << scores.size() << " of " << nodes_.size() << " layers given";
  return RankScores(options_.ranking, rate, scores, layers);
}

}  // namespace prunelab
