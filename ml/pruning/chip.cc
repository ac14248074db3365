#include "ml/pruning/chip.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/pruning/chip.pb.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/one_time_pruning.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/readers.h"

namespace prunelab {
namespace {

class ChipStrategy : public OneTimePruning {
 public:
  ChipStrategy(const Chip& parameters, std::map<std::string, std::string> maps)
      : OneTimePruning(Granularity::kFilter, parameters.epoch()), parameters_(parameters), maps_(std::move(maps)) {
    ranking_.set_scope(Ranking::PER_LAYER);
    ranking_.set_min_live_filters(parameters.min_live_filters());
  }

 private:
  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const override {
    PRUNELAB_ASSIGN_OR_RETURN(const auto independence, Independence());
    std::map<std::string, at::Tensor> scores;
    for (const PrunableLayer& layer : layers) {
      const auto map = maps_.find(layer.node);
      if (map == maps_.end()) continue;
      scores[layer.node] = independence.at(map->second).to(layer.weight.options()).view({-1, 1, 1, 1});
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(ranking_, parameters_.rate(), scores, layers));
    return update;
  }

  // By the node of the feature map. A batch is small, for all maps of it are held at once.
  absl::StatusOr<std::map<std::string, at::Tensor>> Independence() const {
    constexpr int64_t kBatch = 8;
    const at::NoGradGuard no_gradients;
    ProbeRequest request;
    for (const auto& [node, map] : maps_) request.capture.insert(map);
    std::map<std::string, at::Tensor> sums;
    int64_t seen = 0;
    for (int64_t first = 0; first < parameters_.images(); first += kBatch) {
      PRUNELAB_ASSIGN_OR_RETURN(const ProbeBatch batch,
                                probe().TrainingImages(first, std::min(kBatch, parameters_.images() - first)));
      if (batch.labels.size(0) == 0) break;
      request.images = batch.images;
      for (const auto& [map, maps] : probe().Forward(request).captured) {
        // The smallest singular values of what is not finite are not defined; ranking refuses them by name.
        const at::Tensor of_batch = at::isfinite(maps).all().item<bool>()
                                        ? ChannelIndependence(maps)
                                        : at::full({maps.size(1)}, std::nan(""), at::kDouble);
        at::Tensor& sum = sums[map];
        sum = sum.defined() ? sum + of_batch : of_batch;
      }
      seen += batch.labels.size(0);
    }
    // The norm never rises when a row is zeroed, but rounding may say so.
    for (auto& [map, sum] : sums) sum = (sum / seen).clamp_min(0);
    return sums;
  }

  const Chip parameters_;
  const std::map<std::string, std::string> maps_;  // by convolution
  Ranking ranking_;
};

}  // namespace

at::Tensor ChannelIndependence(const at::Tensor& maps) {
  const int64_t images = maps.size(0), channels = maps.size(1);
  const at::Tensor rows = maps.detach().to(at::kCPU, at::kDouble).reshape({images, channels, -1});
  // A = R' Q' with orthonormal rows of Q': zeroing a row of A is zeroing it in R', which has at most C columns.
  const at::Tensor reduced = std::get<1>(at::linalg_qr(rows.transpose(1, 2), "r")).transpose(1, 2).contiguous();
  const at::Tensor without = (1 - at::eye(channels, reduced.options())).unsqueeze(2);  // [C, C, 1]
  at::Tensor sum = at::zeros({channels}, reduced.options());
  for (int64_t i = 0; i < images; ++i) {
    sum += at::linalg_svdvals(reduced[i]).sum() - at::linalg_svdvals(reduced[i] * without).sum(1);
  }
  return sum;
}

namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateChip(const Chip& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("images", parameters.images(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", parameters.min_live_filters(), 0));
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  std::map<std::string, std::string> maps;
  for (const std::string& node : nodes) maps[node] = FeatureMap(*setup.network, node);
  return std::make_unique<ChipStrategy>(parameters, std::move(maps));
}
const bool registered = RegisterPruningStrategy(&CreateChip);

}  // namespace
}  // namespace prunelab
