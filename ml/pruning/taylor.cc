#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/pruning/layer_ranking.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/parameter_checks.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/ranking.h"
#include "ml/pruning/saved_tensors.h"
#include "ml/pruning/taylor.pb.h"

namespace prunelab {
namespace {

constexpr char kSum[] = "sum/", kAverage[] = "average/", kSteps[] = "steps";

// Above all zeros and below everything that counts.
constexpr double kLeast = 1e-300;

class TaylorPruning : public PruningStrategy {
 public:
  // `batch_norms`: of a gate after them, by convolution.
  TaylorPruning(const Taylor& parameters, std::set<std::string> nodes, std::map<std::string, std::string> batch_norms)
      : parameters_(parameters), nodes_(std::move(nodes)), batch_norms_(std::move(batch_norms)) {}

  Granularity granularity() const override { return Granularity::kFilter; }
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }
  bool needs_gradients() const override { return true; }
  bool needs_batch_norms() const override { return !batch_norms_.empty(); }
  bool needs_probe() const override { return !batch_norms_.empty(); }
  void Attach(const NetworkProbe& probe) override { probe_ = &probe; }

  void Observe(const StepPosition& position, const std::vector<PrunableLayer>& layers) override {
    for (const PrunableLayer& layer : layers) {
      if (!nodes_.count(layer.node)) continue;
      const at::Tensor importance = Importance(layer);
      at::Tensor& sum = sums_[layer.node];
      sum = sum.defined() ? at::add(sum, importance) : importance;
    }
    ++steps_;
  }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const int64_t since = position.step() - parameters_.begin_epoch() * position.iterations_per_epoch;
    if (parameters_.rate() == 0) return std::nullopt;
    if (since <= 0 || since % parameters_.period() != 0) return std::nullopt;
    std::map<std::string, at::Tensor> in_force;
    std::vector<at::Tensor> all;
    for (const PrunableLayer& layer : layers) {
      if (!nodes_.count(layer.node)) continue;
      in_force[layer.node] = MaskByFilter(layer);
      all.push_back(in_force[layer.node].flatten());
    }
    const at::Tensor off = at::cat(all).eq(0);
    const int64_t filters = off.numel(), pruned = off.sum().item<int64_t>();
    const int64_t in_the_end =
        std::min(static_cast<int64_t>(static_cast<double>(filters) * parameters_.rate()) + 1, filters);
    if (pruned >= in_the_end) return std::nullopt;
    PRUNELAB_CHECK(steps_ > 0) << "no step observed";
    std::map<std::string, at::Tensor> scores;
    for (const PrunableLayer& layer : layers) {
      if (!nodes_.count(layer.node)) continue;
      const at::Tensor contribution = sums_.at(layer.node) / static_cast<double>(steps_);
      at::Tensor& average = averages_[layer.node];
      average = average.defined() ? average * parameters_.momentum() + contribution * (1 - parameters_.momentum())
                                  : contribution;
      // What is pruned already comes first.
      scores[layer.node] = average.clamp_min(kLeast) * in_force.at(layer.node).to(at::kDouble);
    }
    sums_.clear();
    steps_ = 0;
    const int64_t count = std::min(pruned + FiltersNow(position, since, in_the_end, pruned), in_the_end);
    const double rate = (static_cast<double>(count) - 0.5) / static_cast<double>(filters);
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, RankScores(parameters_.ranking(), rate, scores, layers));
    update.weights = MaskUpdate::Weights::kZeroMasked;
    update.momentum = MaskUpdate::Momentum::kZeroMasked;
    for (const auto& [node, batch_norm] : batch_norms_) {
      const at::Tensor newly_off = in_force.at(node) * (1 - update.masks.at(node));
      for (const char* suffix : {".weight", ".bias"}) {
        const std::string name = absl::StrCat(batch_norm, suffix);
        update.new_weights[name] = probe_->Tensor(name) * (1 - newly_off.flatten());
      }
    }
    return update;
  }

  StrategyState SaveState() const override {
    StrategyState state;
    SaveByNode(kSum, sums_, state);
    SaveByNode(kAverage, averages_, state);
    state.values[kSteps] = absl::StrCat(steps_);
    return state;
  }

  absl::Status LoadState(const StrategyState& state) override {
    sums_ = SavedByNode(kSum, state);
    averages_ = SavedByNode(kAverage, state);
    const auto steps = state.values.find(kSteps);
    if (steps == state.values.end() || !absl::SimpleAtoi(steps->second, &steps_) ||
        (steps_ > 0 && sums_.size() != nodes_.size())) {
      return absl::InvalidArgumentError("the saved state of Taylor pruning lacks its sums or their number of steps");
    }
    return absl::OkStatus();
  }

 private:
  // Of each filter in one step, [out, 1, 1, 1], float64.
  at::Tensor Importance(const PrunableLayer& layer) const {
    if (batch_norms_.count(layer.node)) {
      PRUNELAB_CHECK(layer.batch_norm.has_value()) << layer.node;
      const auto change = [](const at::Tensor& value, const at::Tensor& gradient) {
        return at::mul(value.to(at::kDouble), gradient.to(at::kDouble));
      };
      const PrunableBatchNorm& of = *layer.batch_norm;
      return at::add(change(of.scale, of.scale_gradient), change(of.shift, of.shift_gradient))
          .square_()
          .view({-1, 1, 1, 1});
    }
    const at::Tensor change = at::mul(layer.weight, layer.gradient).to(at::kDouble);
    if (parameters_.form() == Taylor::WEIGHTS) return change.square().sum({1, 2, 3}, /*keepdim=*/true);
    return change.sum({1, 2, 3}, /*keepdim=*/true).square_();
  }

  int64_t FiltersNow(const StepPosition& position, int64_t since, int64_t in_the_end, int64_t pruned) const {
    if (parameters_.filters_per_update() > 0) return parameters_.filters_per_update();
    // The prunings that are left, this one included, up to the run's half; all that is missing where none would follow.
    const int64_t begin = parameters_.begin_epoch() * position.iterations_per_epoch;
    const int64_t end = position.epochs * position.iterations_per_epoch / 2;
    const int64_t left = std::max<int64_t>((end - begin) / parameters_.period() - since / parameters_.period() + 1, 1);
    return (in_the_end - pruned + left - 1) / left;
  }

  const Taylor parameters_;
  const std::set<std::string> nodes_;
  const std::map<std::string, std::string> batch_norms_;
  const NetworkProbe* probe_ = nullptr;         // if there are batch norms
  std::map<std::string, at::Tensor> sums_;      // of the steps since the last pruning, [out, 1, 1, 1], float64
  std::map<std::string, at::Tensor> averages_;  // over prunings
  int64_t steps_ = 0;                           // in the sums
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateTaylor(const Taylor& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("begin_epoch", parameters.begin_epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", parameters.period()));
  PRUNELAB_RETURN_IF_ERROR(CheckRate("momentum", parameters.momentum()));
  PRUNELAB_RETURN_IF_ERROR(InField("ranking", ValidateRanking(parameters.ranking())));
  if (parameters.filters_per_update() < 0) {
    return FieldError("filters_per_update", absl::StrCat("is ", parameters.filters_per_update(),
                                                         "; must be 1 or more, or 0 to reach the rate at half of the "
                                                         "run"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> nodes, ChosenLayers(parameters.layers(), *setup.network));
  std::map<std::string, std::string> batch_norms;
  if (parameters.form() == Taylor::BATCH_NORM_GATE) {
    batch_norms = OwnBatchNorms(*setup.network, nodes);
    if (batch_norms.empty()) {
      return FieldError("form", absl::StrCat("is BATCH_NORM_GATE, but of ", nodes.size(),
                                             " convolutions chosen none is read by a batch norm alone; must be GATE or "
                                             "WEIGHTS"));
    }
  }
  return std::make_unique<TaylorPruning>(parameters, std::move(nodes), std::move(batch_norms));
}
const bool registered = RegisterPruningStrategy(&CreateTaylor);

}  // namespace
}  // namespace prunelab
