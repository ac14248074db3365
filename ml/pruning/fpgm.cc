#include "ml/pruning/fpgm.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/pruning/epoch_end_pruning.h"
#include "ml/pruning/fpgm.pb.h"
#include "ml/pruning/parameter_checks.h"

namespace prunelab {
namespace {

// Distance sums of the filters that are left when `by_norm` of the smallest norm are taken out, which get 0.
at::Tensor Redundancy(const at::Tensor& weight, int64_t by_norm) {
  if (by_norm == 0) return DistanceSums(weight);
  const at::Tensor norms = weight.to(at::kDouble).flatten(1).square().sum(1);
  const at::Tensor order = std::get<1>(at::sort(norms, /*stable=*/true, /*dim=*/0, /*descending=*/false));
  const at::Tensor left = order.slice(0, by_norm);
  at::Tensor result = at::zeros({weight.size(0), 1, 1, 1}, weight.options().dtype(at::kDouble));
  result.index_copy_(0, left, DistanceSums(weight.index_select(0, left)));
  return result;
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateFpgm(const Fpgm& parameters, const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckRate("norm_rate", parameters.norm_rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriodEpochs("period_epochs", parameters.period_epochs()));
  if (parameters.norm_rate() > parameters.rate()) {
    return FieldError("norm_rate",
                      absl::StrCat("is ", parameters.norm_rate(), "; must be at most rate (", parameters.rate(), ")"));
  }
  LayerRankingOptions options;
  options.layers = parameters.layers();
  options.ranking.set_scope(Ranking::PER_LAYER);
  options.ranking.set_min_live_filters(1);
  options.scores.of = [norm_rate = parameters.norm_rate()](const at::Tensor& weight, const at::Tensor&) {
    return Redundancy(weight, static_cast<int64_t>(static_cast<double>(weight.size(0)) * norm_rate));
  };
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create(std::move(options), *setup.network));
  return MakeEpochEndPruning({parameters.rate(), parameters.period_epochs(), parameters.protocol() == Fpgm::SOFT},
                             std::move(ranking));
}
const bool registered = RegisterPruningStrategy(&CreateFpgm);

}  // namespace

at::Tensor DistanceSums(const at::Tensor& filters) {
  const at::Tensor rows = filters.to(at::kDouble).flatten(1);
  // Mode 2: differences themselves, not a matrix product, in which near filters would cancel.
  return at::cdist(rows, rows, /*p=*/2, /*compute_mode=*/2).sum(1).view({-1, 1, 1, 1});
}

}  // namespace prunelab
