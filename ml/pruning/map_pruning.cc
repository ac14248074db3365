#include "ml/pruning/map_pruning.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"

namespace prunelab {
namespace {

class MapPruning : public OneTimePruning {
 public:
  MapPruning(const MapPruningOptions& options, std::map<std::string, std::string> maps, MapScore score)
      : OneTimePruning(Granularity::kFilter, options.epoch),
        rate_(options.rate),
        images_(options.images),
        maps_(std::move(maps)),
        score_(std::move(score)) {
    ranking_.set_scope(Ranking::PER_LAYER);
    ranking_.set_min_live_filters(options.min_live_filters);
  }

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    PRUNELAB_ASSIGN_OR_RETURN(const auto means, MeanScores());
    std::map<std::string, at::Tensor> scores;
    for (const PrunableLayer& layer : layers) {
      const auto map = maps_.find(layer.node);
      if (map == maps_.end()) continue;
      scores[layer.node] = means.at(map->second).to(layer.weight.options()).view({-1, 1, 1, 1});
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(ranking_, rate_, scores, layers));
    return update;
  }

  // By the node of the feature map. A batch is small, for all maps of it are held at once.
  absl::StatusOr<std::map<std::string, at::Tensor>> MeanScores() const {
    constexpr int64_t kBatch = 8;
    const at::NoGradGuard no_gradients;
    ProbeRequest request;
    for (const auto& [node, map] : maps_) request.capture.insert(map);
    std::map<std::string, at::Tensor> sums;
    int64_t seen = 0;
    for (int64_t first = 0; first < images_; first += kBatch) {
      PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch,
                                probe().TrainingImages(first, std::min(kBatch, images_ - first)));
      if (batch.labels.size(0) == 0) break;
      request.images = batch.images;
      for (const auto& [map, maps] : probe().Forward(request).captured) {
        // The singular values of what is not finite are not defined; ranking refuses them by name.
        const at::Tensor of_batch =
            at::isfinite(maps).all().item<bool>() ? score_(maps) : at::full({maps.size(1)}, std::nan(""), at::kDouble);
        at::Tensor& sum = sums[map];
        sum = sum.defined() ? sum + of_batch : of_batch;
      }
      seen += batch.labels.size(0);
    }
    // Scores are not negative, but rounding may say so.
    for (auto& [map, sum] : sums) sum = (sum / seen).clamp_min(0);
    return sums;
  }

  const double rate_;
  const int64_t images_;
  const std::map<std::string, std::string> maps_;  // by convolution
  const MapScore score_;
  Ranking ranking_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PruningStrategy>> MakeMapPruning(MapPruningOptions options, const PruningSetup& setup,
                                                                MapScore score) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", options.rate));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", options.epoch));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("images", options.images, 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", options.min_live_filters, 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> nodes, ChosenLayers(options.layers, *setup.network));
  std::map<std::string, std::string> maps;
  for (const std::string& node : nodes) maps[node] = FeatureMap(*setup.network, node);
  return std::make_unique<MapPruning>(options, std::move(maps), std::move(score));
}

}  // namespace prunelab
