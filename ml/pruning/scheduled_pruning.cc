#include "ml/pruning/scheduled_pruning.h"

#include <optional>
#include <utility>
#include <vector>

#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

class ScheduledPruning : public PruningStrategy {
 public:
  ScheduledPruning(const CubicSchedule& schedule, LayerRanking ranking, GradientPolicy policy)
      : schedule_(schedule), ranking_(std::move(ranking)), policy_(policy) {}

  Granularity granularity() const override { return ranking_.granularity(); }
  GradientPolicy gradient_policy() const override { return policy_; }
  bool regrows() const override { return policy_ == GradientPolicy::kStraightThrough; }
  bool needs_gradients() const override { return ranking_.needs_gradients(); }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const std::optional<double> rate = schedule_.RateAt(position);
    if (!rate) return std::nullopt;
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(*rate, layers));
    return update;
  }

 private:
  const CubicSchedule schedule_;
  const LayerRanking ranking_;
  const GradientPolicy policy_;
};

}  // namespace

std::unique_ptr<PruningStrategy> MakeScheduledPruning(const CubicSchedule& schedule, LayerRanking ranking,
                                                      GradientPolicy policy) {
  return std::make_unique<ScheduledPruning>(schedule, std::move(ranking), policy);
}

}  // namespace prunelab
