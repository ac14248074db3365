#include "ml/pruning/gradual.pb.h"
#include "ml/pruning/scored_pruning.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateGradual(const Gradual& parameters, const PruningSetup& setup) {
  LayerRankingOptions options;
  options.ranking.set_scope(Ranking::PER_LAYER);
  options.granularity = Granularity::kWeight;
  return CreateScoredPruning(parameters, setup, options);
}
const bool registered = RegisterPruningStrategy(&CreateGradual);

}  // namespace
}  // namespace prunelab
