#include "ml/pruning/ranked_pruning.h"

#include <utility>
#include <vector>

#include "ml/base/status_macros.h"
#include "ml/pruning/update_times.h"

namespace prunelab {
namespace {

class RankedPruning : public PruningStrategy {
 public:
  RankedPruning(RankedPruningOptions options, LayerRanking ranking)
      : options_(std::move(options)), ranking_(std::move(ranking)) {}

  Granularity granularity() const override { return ranking_.granularity(); }
  GradientPolicy gradient_policy() const override { return options_.gradient_policy; }
  bool regrows() const override { return options_.regrows; }
  bool needs_gradients() const override { return ranking_.needs_gradients(); }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const std::optional<double> rate = options_.rate_at(position);
    if (!rate) return std::nullopt;
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(*rate, layers));
    return update;
  }

 private:
  const RankedPruningOptions options_;
  const LayerRanking ranking_;
};

}  // namespace

RateAt RateOnce(int64_t epoch, double rate) {
  return [epoch, rate](const StepPosition& position) {
    return IsFirstStepOf(epoch, position) ? std::optional<double>(rate) : std::nullopt;
  };
}

std::unique_ptr<PruningStrategy> MakeRankedPruning(RankedPruningOptions options, LayerRanking ranking) {
  return std::make_unique<RankedPruning>(std::move(options), std::move(ranking));
}

}  // namespace prunelab
