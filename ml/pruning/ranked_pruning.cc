#include "ml/pruning/ranked_pruning.h"

#include <ATen/ATen.h>

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/fresh_weights.h"
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
  DeadGradient dead_gradient() const override { return options_.dead_gradient; }
  bool needs_gradients() const override { return ranking_.needs_gradients(); }
  bool needs_probe() const override { return ranking_.needs_probe(); }
  void Attach(const NetworkProbe& probe) override { probe_ = &probe; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const std::optional<double> rate = options_.rate_at(position);
    if (!rate) return std::nullopt;
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(*rate, layers, probe_));
    if (options_.on_return != OnReturn::KEEP) ChangeReturned(position, layers, update);
    return update;
  }

 private:
  // New weights for the filters that return, by what the options say. They have no momentum.
  void ChangeReturned(const StepPosition& position, const std::vector<PrunableLayer>& layers,
                      MaskUpdate& update) const {
    update.momentum = MaskUpdate::Momentum::kZeroGrown;
    for (const PrunableLayer& layer : layers) {
      const auto mask = update.masks.find(layer.node);
      if (mask == update.masks.end()) continue;
      const at::Tensor was_on = MaskByFilter(layer), returns = mask->second.ne(0) & was_on.eq(0);
      const at::Tensor changed =
          options_.on_return == OnReturn::RENORMALISE ? Renormalised(layer.weight, was_on) : Fresh(position, layer);
      update.new_weights[absl::StrCat(layer.node, ".weight")] = at::where(returns, changed, layer.weight);
    }
  }

  // Each filter with the mean norm of those that were on; a filter of zeros, or if none was on, as it is.
  static at::Tensor Renormalised(const at::Tensor& weight, const at::Tensor& was_on) {
    const at::Tensor norms = weight.flatten(1).norm(2, /*dim=*/1).view({-1, 1, 1, 1});
    const at::Tensor on = was_on.ne(0), live = on.sum();
    const at::Tensor mean = (norms * on).sum() / live.clamp_min(1);
    return at::where(norms.gt(0) & live.gt(0), weight * (mean / norms), weight);
  }

  at::Tensor Fresh(const StepPosition& position, const PrunableLayer& layer) const {
    RandomStream stream(options_.seed, absl::StrCat("return/", layer.node), position.step());
    return FreshWeights(options_.deviations.at(layer.node), layer.weight, stream);
  }

  const RankedPruningOptions options_;
  const LayerRanking ranking_;
  const NetworkProbe* probe_ = nullptr;
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
