#include <cmath>
#include <utility>

#include "ml/base/status_macros.h"
#include "ml/pruning/lamp.pb.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranked_pruning.h"

namespace prunelab {
namespace {

// Each round masks the same fraction of what is left; no value between the rounds.
std::optional<double> RoundRate(const Lamp& parameters, const StepPosition& position) {
  const int64_t since = position.epoch - parameters.epoch();
  if (position.iteration != 0 || since < 0 || since % parameters.round_epochs() != 0) return std::nullopt;
  const int64_t round = since / parameters.round_epochs() + 1;
  if (round > parameters.rounds()) return std::nullopt;
  const double fraction = static_cast<double>(round) / static_cast<double>(parameters.rounds());
  return round == parameters.rounds() ? parameters.rate() : 1 - std::pow(1 - parameters.rate(), fraction);
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateLamp(const Lamp& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("epoch", parameters.epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("rounds", parameters.rounds(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriodEpochs("round_epochs", parameters.round_epochs()));
  LayerRankingOptions options;
  options.layers = parameters.layers();
  options.ranking.set_scope(Ranking::GLOBAL_LAMP);
  options.ranking.set_min_live_filters(1);
  options.granularity = Granularity::kWeight;
  options.of_masked_weights = true;
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create(std::move(options), *setup.network));
  return MakeRankedPruning({[parameters](const StepPosition& position) { return RoundRate(parameters, position); }},
                           std::move(ranking));
}
const bool registered = RegisterPruningStrategy(&CreateLamp);

}  // namespace
}  // namespace prunelab
