#include "ml/pruning/dynamic_l1.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/update_times.h"

namespace prunelab {
namespace {

class DynamicPruning : public PruningStrategy {
 public:
  DynamicPruning(const DynamicL1& parameters, LayerRanking ranking)
      : parameters_(parameters), ranking_(std::move(ranking)) {}

  Granularity granularity() const override { return ranking_.granularity(); }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kStraightThrough; }
  bool regrows() const override { return true; }
  bool needs_gradients() const override { return ranking_.needs_gradients(); }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (!IsPeriodicUpdate(position, parameters_.period(), parameters_.first_epoch(), parameters_.last_epoch())) {
      return std::nullopt;
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(parameters_.rate(), layers));
    return update;
  }

 private:
  const DynamicL1 parameters_;
  const LayerRanking ranking_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateDynamicL1(const DynamicL1& parameters,
                                                                 const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpochRange(parameters.first_epoch(), parameters.last_epoch()));
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking,
                            LayerRanking::Create({parameters.layers(), parameters.ranking(), parameters.importance(),
                                                  ToGranularity(parameters.granularity())},
                                                 *setup.network));
  if (ranking.needs_gradients() && parameters.period() == 1 && parameters.first_epoch() == 0) {
    return FieldError("importance",
                      absl::StrCat("is ", Importance::Kind_Name(parameters.importance()),
                                   ", and with period 1 the first update comes before any step has given a "
                                   "gradient; use a period of 2 or more, or a first_epoch of 1 or later"));
  }
  return std::make_unique<DynamicPruning>(parameters, std::move(ranking));
}

}  // namespace prunelab
