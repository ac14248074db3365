#include "ml/pruning/layer_ranking.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/ranking.h"

namespace prunelab {

absl::StatusOr<std::map<std::string, at::Tensor>> RankScores(const Ranking& ranking, double rate,
                                                             const std::map<std::string, at::Tensor>& scores,
                                                             const std::vector<PrunableLayer>& layers) {
  std::vector<RankedLayer> ranked;
  for (const PrunableLayer& layer : layers) {
    const auto found = scores.find(layer.node);
    if (found != scores.end()) ranked.push_back({layer.node, found->second, layer.weight.sizes().vec()});
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
  if (options.scores.of_filters && options.granularity != Granularity::kFilter) {
    return FieldError("granularity", "is WEIGHT, and this importance is one of filters; must be FILTER");
  }
  LayerRanking ranking(std::move(options), std::move(nodes));
  if (!ranking.needs_probe()) return ranking;
  ranking.batch_norms_ = OwnBatchNorms(network, ranking.nodes_);
  ranking.nodes_.clear();
  for (const auto& [node, batch_norm] : ranking.batch_norms_) ranking.nodes_.insert(node);
  if (ranking.nodes_.empty()) {
    return FieldError(
        "importance",
        "is BATCH_NORM_SCALE, and none of the layers has a batch norm that reads it alone; choose another");
  }
  return ranking;
}

absl::StatusOr<at::Tensor> LayerRanking::ScoresOf(const PrunableLayer& layer, const NetworkProbe* probe) const {
  if (needs_probe()) {
    PRUNELAB_CHECK(probe != nullptr) << "no probe";
    return probe->Tensor(absl::StrCat(batch_norms_.at(layer.node), ".weight")).abs().view({-1, 1, 1, 1});
  }
  PrunableLayer read = layer;
  if (options_.of_masked_weights) read.weight = at::mul(layer.weight, layer.mask);
  return LayerScores(options_.scores, options_.granularity, read);
}

absl::StatusOr<std::map<std::string, at::Tensor>> LayerRanking::Masks(double rate,
                                                                      const std::vector<PrunableLayer>& layers,
                                                                      const NetworkProbe* probe) const {
  std::map<std::string, at::Tensor> scores;
  for (const PrunableLayer& layer : layers) {
    if (!nodes_.count(layer.node)) continue;
    PRUNELAB_ASSIGN_OR_RETURN(scores[layer.node], ScoresOf(layer, probe));
  }
  PRUNELAB_CHECK(scores.size() == nodes_.size()) << scores.size() << " of " << nodes_.size() << " layers given";
  return RankScores(options_.ranking, rate, scores, layers);
}

}  // namespace prunelab
