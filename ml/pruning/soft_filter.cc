#include <utility>

#include "ml/base/status_macros.h"
#include "ml/pruning/epoch_end_pruning.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/soft_filter.pb.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateSoftFilter(const SoftFilter& parameters,
                                                                  const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriodEpochs("period_epochs", parameters.period_epochs()));
  LayerRankingOptions options;
  options.layers = parameters.layers();
  options.ranking.set_scope(Ranking::PER_LAYER);
  options.ranking.set_min_live_filters(1);
  options.scores = ImportanceScores(Importance::L2);  // the mean w^2 ranks a layer's filters as their L2 norm does
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create(std::move(options), *setup.network));
  return MakeEpochEndPruning({parameters.rate(), parameters.period_epochs(), /*soft=*/true}, std::move(ranking));
}
const bool registered = RegisterPruningStrategy(&CreateSoftFilter);

}  // namespace
}  // namespace prunelab
