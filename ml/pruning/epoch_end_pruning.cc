#include "ml/pruning/epoch_end_pruning.h"

#include <ATen/ATen.h>

#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/status_macros.h"

namespace prunelab {
namespace {

class EpochEndPruning : public PruningStrategy {
 public:
  EpochEndPruning(const EpochEndOptions& options, LayerRanking ranking)
      : options_(options), ranking_(std::move(ranking)) {}

  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  bool regrows() const override { return true; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    if (position.iteration != 0) return std::nullopt;
    const bool first = position.epoch == 0;
    if (first && !options_.soft) return Choose(layers);
    if (!options_.soft || !(first || IsChosenAfter(position.epoch - 1))) return std::nullopt;
    MaskUpdate update;  // all are free
    for (const PrunableLayer& layer : layers) {
      if (!ranking_.nodes().count(layer.node)) continue;
      update.masks[layer.node] = at::ones({layer.weight.size(0), 1, 1, 1}, layer.weight.options().requires_grad(false));
    }
    if (!first) return update;
    PRUNELAB_ASSIGN_OR_RETURN(const MaskUpdate chosen, Choose(layers));
    for (const PrunableLayer& layer : layers) {
      const auto mask = chosen.masks.find(layer.node);
      if (mask == chosen.masks.end()) continue;
      update.new_weights[absl::StrCat(layer.node, ".weight")] = at::mul(layer.weight, mask->second);
    }
    return update;
  }

  absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                     const std::vector<PrunableLayer>& layers) override {
    if (!IsChosenAfter(position.epoch) && !position.in_last_epoch()) return std::nullopt;
    return Choose(layers);
  }

 private:
  // And after the last.
  bool IsChosenAfter(int64_t epoch) const { return epoch % options_.period_epochs == 0; }

  absl::StatusOr<MaskUpdate> Choose(const std::vector<PrunableLayer>& layers) const {
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(options_.rate, layers));
    update.weights = MaskUpdate::Weights::kZeroMasked;
    return update;
  }

  const EpochEndOptions options_;
  const LayerRanking ranking_;
};

}  // namespace

std::unique_ptr<PruningStrategy> MakeEpochEndPruning(const EpochEndOptions& options, LayerRanking ranking) {
  return std::make_unique<EpochEndPruning>(options, std::move(ranking));
}

}  // namespace prunelab
