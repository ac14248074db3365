#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/cubic_schedule.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/movement.pb.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/saved_tensors.h"

namespace prunelab {
namespace {

constexpr char kScore[] = "score/";

class MovementPruning : public PruningStrategy {
 public:
  MovementPruning(const CubicSchedule& schedule, GradientPolicy policy, Ranking ranking, std::set<std::string> nodes)
      : schedule_(schedule), policy_(policy), ranking_(std::move(ranking)), nodes_(std::move(nodes)) {}

  Granularity granularity() const override { return Granularity::kWeight; }
  GradientPolicy gradient_policy() const override { return policy_; }
  bool needs_gradients() const override { return true; }

  void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) override {
    for (const PrunableLayer& layer : layers) {
      if (!nodes_.count(layer.node)) continue;
      const at::Tensor change = at::mul(layer.weight, layer.gradient);
      at::Tensor& score = scores_[layer.node];
      score = score.defined() ? at::sub(score, change) : at::neg(change);
    }
  }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const std::optional<double> rate = schedule_.RateAt(position);
    if (!rate || scores_.empty()) return std::nullopt;
    // Shifted by the least of all, so that none is negative; in float64, in which near scores stay apart.
    std::vector<at::Tensor> least;
    for (const auto& [node, score] : scores_) least.push_back(score.min());
    const at::Tensor shift = at::stack(least).min().to(at::kDouble);
    std::map<std::string, at::Tensor> shifted;
    for (const auto& [node, score] : scores_) shifted[node] = score.to(at::kDouble) - shift;
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(ranking_, *rate, shifted, layers));
    return update;
  }

  StrategyState SaveState() const override {
    StrategyState state;
    SaveByNode(kScore, scores_, state);
    return state;
  }

  absl::Status LoadState(const StrategyState& state) override {
    scores_ = SavedByNode(kScore, state);
    if (scores_.empty() || scores_.size() == nodes_.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("the saved state of movement pruning has scores of ", scores_.size(),
                                                   " layers, not of ", nodes_.size()));
  }

 private:
  const CubicSchedule schedule_;
  const GradientPolicy policy_;
  const Ranking ranking_;
  const std::set<std::string> nodes_;
  std::map<std::string, at::Tensor> scores_;  // in the weight's shape and dtype; none before the first step
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateMovement(const Movement& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  CubicSchedule schedule = CubicScheduleOf(parameters, parameters.rate());
  schedule.goes_on = true;
  schedule.last_epoch = parameters.last_epoch();
  PRUNELAB_RETURN_IF_ERROR(ValidateCubicSchedule(schedule));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  Ranking ranking = parameters.ranking();
  if (!parameters.has_ranking()) {
    ranking.set_scope(Ranking::PER_LAYER);
    ranking.set_min_live_filters(1);
  }
  return std::make_unique<MovementPruning>(schedule, ToGradientPolicy(parameters.gradient()), ranking,
                                           std::move(nodes));
}
const bool registered = RegisterPruningStrategy(&CreateMovement);

}  // namespace
}  // namespace prunelab
