#include <utility>

#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/cubic_schedule.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranked_pruning.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/unstructured.pb.h"

namespace prunelab {
namespace {

absl::StatusOr<RateAt> RatesOf(const Unstructured& parameters) {
  if (!parameters.has_gradual()) {
    const int64_t epoch = parameters.one_shot().epoch();
    PRUNELAB_RETURN_IF_ERROR(InField("one_shot", CheckEpoch("epoch", epoch)));
    return RateOnce(epoch, parameters.rate());
  }
  const CubicSchedule schedule = CubicScheduleOf(parameters.gradual(), parameters.rate());
  PRUNELAB_RETURN_IF_ERROR(InField("gradual", ValidateCubicSchedule(schedule)));
  return RateAt([schedule](const StepPosition& position) { return schedule.RateAt(position); });
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateUnstructured(const Unstructured& parameters,
                                                                    const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_ASSIGN_OR_RETURN(RateAt rate_at, RatesOf(parameters));
  LayerRankingOptions options;
  options.layers = parameters.layers();
  options.ranking = parameters.ranking();
  options.granularity = Granularity::kWeight;
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create(std::move(options), *setup.network));
  return MakeRankedPruning({std::move(rate_at), ToGradientPolicy(parameters.gradient())}, std::move(ranking));
}
const bool registered = RegisterPruningStrategy(&CreateUnstructured);

}  // namespace
}  // namespace prunelab
