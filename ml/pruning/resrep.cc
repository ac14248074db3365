#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/compactors.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/resrep.pb.h"
#include "ml/pruning/saved_tensors.h"

namespace prunelab {
namespace {

constexpr char kLearns[] = "learns/";

class ResrepPruning : public PruningStrategy {
 public:
  ResrepPruning(const Resrep& parameters, Ranking ranking, std::set<std::string> nodes)
      : parameters_(parameters), ranking_(std::move(ranking)), nodes_(std::move(nodes)) {}

  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }

  const std::map<std::string, at::Tensor>& learns_from_loss() const override { return learns_; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    for (const PrunableLayer& layer : layers) {
      if (nodes_.count(layer.node) == 0) continue;
      at::Tensor& learns = learns_[layer.node];
      const at::TensorOptions options = layer.weight.options().requires_grad(false);
      learns = learns.defined() ? learns.to(options) : at::ones({layer.weight.size(0), 1, 1, 1}, options);
    }
    const int64_t since = position.step() - parameters_.first_epoch() * position.iterations_per_epoch;
    if (since < 0 || since % parameters_.period() != 0 || parameters_.rate() == 0) return std::nullopt;
    PRUNELAB_ASSIGN_OR_RETURN(const auto chosen, Chosen(since / parameters_.period() + 1, layers));
    for (auto& [node, learns] : learns_) learns.copy_(chosen.at(node));
    return std::nullopt;
  }

  absl::StatusOr<std::optional<MaskUpdate>> EndEpoch(const StepPosition& position,
                                                     const std::vector<PrunableLayer>& layers) override {
    if (position.epoch < parameters_.first_epoch()) return std::nullopt;
    MaskUpdate update;
    for (const PrunableLayer& layer : layers) {
      const auto learns = learns_.find(layer.node);
      if (learns == learns_.end()) continue;
      const at::Tensor gone = learns->second.eq(0) & Norms(layer).lt(parameters_.threshold());
      update.masks[layer.node] = at::mul(MaskByFilter(layer), gone.logical_not());
    }
    return update;
  }

  StrategyState SaveState() const override {
    StrategyState state;
    SaveByNode(kLearns, learns_, state);
    return state;
  }

  absl::Status LoadState(const StrategyState& state) override {
    learns_ = SavedByNode(kLearns, state);
    for (auto& [node, learns] : learns_) learns = learns.clone();  // its own memory, which is written to
    if (learns_.empty() || learns_.size() == nodes_.size()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        absl::StrCat("the saved state of resrep is of ", learns_.size(), " layers, not of ", nodes_.size()));
  }

 private:
  // Of each filter, [out, 1, 1, 1]; 0 if it is masked.
  static at::Tensor Norms(const PrunableLayer& layer) {
    return layer.weight.flatten(1).norm(2, /*dim=*/1).view({-1, 1, 1, 1}) * MaskByFilter(layer);
  }

  // By node, [out, 1, 1, 1]: 0 for those chosen for the `time`th time, counted from 1.
  absl::StatusOr<std::map<std::string, at::Tensor>> Chosen(int64_t time,
                                                           const std::vector<PrunableLayer>& layers) const {
    std::map<std::string, at::Tensor> norms;
    int64_t filters = 0;
    for (const PrunableLayer& layer : layers) {
      if (nodes_.count(layer.node) == 0) continue;
      norms[layer.node] = Norms(layer);
      filters += layer.weight.size(0);
    }
    const auto goal = static_cast<int64_t>(static_cast<double>(filters) * parameters_.rate()) + 1;
    const int64_t count = std::min(goal, time * std::min(goal, parameters_.filters_at_a_time()));
    // The rate at which ranking.h turns off so many, int(filters * rate) + 1, ties by their order.
    const double rate = (static_cast<double>(count) - 0.5) / static_cast<double>(filters);
    return RankScores(ranking_, rate, norms, layers);
  }

  const Resrep parameters_;
  const Ranking ranking_;
  const std::set<std::string> nodes_;
  std::map<std::string, at::Tensor> learns_;  // none before the first step; then always the same tensors
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateResrep(const Resrep& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("first_epoch", parameters.first_epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("filters_at_a_time", parameters.filters_at_a_time(), 1));
  PRUNELAB_RETURN_IF_ERROR(CheckAtLeast("min_live_filters", parameters.min_live_filters(), 1));
  if (!(parameters.threshold() > 0)) {
    return FieldError("threshold", absl::StrCat("is ", parameters.threshold(), "; must be above 0"));
  }
  LayerSelection layers = parameters.layers();
  if (!parameters.has_layers()) {
    if (!HasCompactors(*setup.network)) {
      return FieldError("layers",
                        "is unset, and the network has no compactors; give the run `compactors {}`, or choose "
                        "convolutions, e.g. layers { include: \"*\" }");
    }
    layers.set_include(CompactorOf("*"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(layers, *setup.network));
  Ranking ranking;
  ranking.set_scope(Ranking::GLOBAL);
  ranking.set_min_live_filters(parameters.min_live_filters());
  return std::make_unique<ResrepPruning>(parameters, std::move(ranking), std::move(nodes));
}
const bool registered = RegisterPruningStrategy(&CreateResrep);

}  // namespace
}  // namespace prunelab
