#include "ml/pruning/pfec.pb.h"
#include "ml/pruning/scored_pruning.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePfec(const Pfec& parameters, const PruningSetup& setup) {
  // The mean |w| of a filter ranks a layer's filters as their sum does: they have the same number of weights.
  LayerRankingOptions options;
  options.ranking.set_scope(Ranking::PER_LAYER);
  options.ranking.set_min_live_filters(1);
  options.of_masked_weights = true;
  return CreateScoredPruning(parameters, setup, options);
}
const bool registered = RegisterPruningStrategy(&CreatePfec);

}  // namespace
}  // namespace prunelab
