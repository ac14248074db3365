// Choosing layers, computing their scores and ranking them: what strategies that rank have in common, made of their
// parameters once.
//
//   PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create({parameters.layers(), parameters.ranking(),
//                             ImportanceScores(Importance::L2), Granularity::kFilter}, *setup.network));
//   ...
//   PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking.Masks(rate, layers));
#pragma once

#include <ATen/core/Tensor.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/masks.h"
#include "ml/network/network.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.pb.h"
#include "ml/pruning/scores.h"

namespace prunelab {

// Masks, in the weights' dtype, of those of `layers` that have scores by node ([out, 1, 1, 1], or the weight's shape):
// see RankMasks in ranking.h, also for the errors.
absl::StatusOr<std::map<std::string, at::Tensor>> RankScores(const Ranking& ranking, double rate,
                                                             const std::map<std::string, at::Tensor>& scores,
                                                             const std::vector<PrunableLayer>& layers);

struct LayerRankingOptions {
  LayerSelection layers;
  Ranking ranking;
  Scores scores = ImportanceScores(Importance::L1);
  Granularity granularity = Granularity::kFilter;
  bool of_masked_weights = false;  // what is masked already counts as zero, so that it comes first
};

class LayerRanking {
 public:
  // Field errors of the fields `layers`, `ranking`, `granularity` and `importance`.
  static absl::StatusOr<LayerRanking> Create(LayerRankingOptions options, const NetworkInfo& network);

  Granularity granularity() const { return options_.granularity; }
  bool needs_gradients() const { return options_.scores.needs_gradients; }
  bool needs_probe() const { return options_.scores.of_batch_norm; }
  const std::set<std::string>& nodes() const { return nodes_; }  // the layers chosen

  // Masks of the chosen layers at `rate`, in [0, 1), in the weights' dtype: see ranking.h. `layers` are all of the
  // network's. `probe` is read if needs_probe().
  absl::StatusOr<std::map<std::string, at::Tensor>> Masks(double rate, const std::vector<PrunableLayer>& layers,
                                                          const NetworkProbe* probe = nullptr) const;

 private:
  LayerRanking(LayerRankingOptions options, std::set<std::string> nodes)
      : options_(std::move(options)), nodes_(std::move(nodes)) {}

  absl::StatusOr<at::Tensor> ScoresOf(const PrunableLayer& layer, const NetworkProbe* probe) const;

  LayerRankingOptions options_;
  std::set<std::string> nodes_;
  std::map<std::string, std::string> batch_norms_;  // by convolution, if needs_probe()
};

}  // namespace prunelab
