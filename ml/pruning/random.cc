#include "ml/base/random.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/random.pb.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/update_times.h"

namespace prunelab {
namespace {

// Uniform numbers of 53 bits in place of scores, [out, 1, 1, 1] or in the weight's shape. Ties are as good as
// impossible, so ranking them masks a uniformly random set of the asked size.
at::Tensor RandomScores(uint64_t seed, int64_t draw, Granularity granularity, const PrunableLayer& layer) {
  const int64_t filters = layer.weight.size(0);
  at::Tensor scores = granularity == Granularity::kFilter ? at::empty({filters, 1, 1, 1}, at::kDouble)
                                                          : at::empty(layer.weight.sizes(), at::kDouble);
  RandomStream stream(seed, absl::StrCat("random_pruning/", layer.node), draw);
  double* values = scores.mutable_data_ptr<double>();
  for (int64_t i = 0; i < scores.numel(); ++i) values[i] = stream.Uniform();
  return scores;
}

class RandomPruning : public PruningStrategy {
 public:
  RandomPruning(const Random& parameters, std::set<std::string> nodes, uint64_t seed)
      : parameters_(parameters), nodes_(std::move(nodes)), seed_(seed) {}

  Granularity granularity() const override { return ToGranularity(parameters_.granularity()); }
  GradientPolicy gradient_policy() const override { return ToGradientPolicy(parameters_.gradient()); }
  bool regrows() const override { return parameters_.redraw(); }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const bool due = parameters_.redraw() ? IsPeriodicUpdate(position, parameters_.period(), parameters_.first_epoch(),
                                                             parameters_.last_epoch())
                                          : IsFirstStepOf(parameters_.first_epoch(), position);
    if (!due) return std::nullopt;
    const int64_t draw = parameters_.redraw() ? position.step() : 0;
    std::map<std::string, at::Tensor> scores;
    for (const PrunableLayer& layer : layers) {
      if (nodes_.count(layer.node)) scores[layer.node] = RandomScores(seed_, draw, granularity(), layer);
    }
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(parameters_.ranking(), parameters_.rate(), scores, layers));
    return update;
  }

 private:
  const Random parameters_;
  const std::set<std::string> nodes_;
  const uint64_t seed_;
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateRandom(const Random& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpochRange(parameters.first_epoch(), parameters.last_epoch()));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  const Ranking::Scope scope = parameters.ranking().scope();
  if (scope == Ranking::GLOBAL_LAYER_MEAN || scope == Ranking::GLOBAL_LAMP) {
    return FieldError("ranking.scope",
                      absl::StrCat("is ", Ranking::Scope_Name(scope),
                                   ", which scales importances, and random pruning has none; use GLOBAL, "
                                   "PER_LAYER or ERDOS_RENYI_KERNEL"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  return std::make_unique<RandomPruning>(parameters, std::move(nodes), setup.seed);
}
const bool registered = RegisterPruningStrategy(&CreateRandom);

}  // namespace
}  // namespace prunelab
