#include "ml/pruning/unstructured.h"

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

class MagnitudePruning : public PruningStrategy {
 public:
  MagnitudePruning(const Unstructured& parameters, LayerRanking ranking)
      : parameters_(parameters), ranking_(std::move(ranking)) {}

  Granularity granularity() const override { return Granularity::kWeight; }
  GradientPolicy gradient_policy() const override { return ToGradientPolicy(parameters_.gradient()); }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    const std::optional<double> rate = RateAt(position);
    if (!rate) return std::nullopt;
    MaskUpdate update;
    PRUNELAB_ASSIGN_OR_RETURN(update.masks, ranking_.Masks(*rate, layers));
    return update;
  }

 private:
  // No value where nothing is ranked.
  std::optional<double> RateAt(const StepPosition& position) const {
    if (!parameters_.has_gradual()) {
      if (!IsFirstStepOf(parameters_.one_shot().epoch(), position)) return std::nullopt;
      return parameters_.rate();
    }
    const Unstructured::Gradual& gradual = parameters_.gradual();
    const int64_t begin = gradual.begin_epoch() * position.iterations_per_epoch;
    const int64_t end = gradual.end_epoch() * position.iterations_per_epoch;
    const int64_t t = position.step();
    if (t < begin || t > end || ((t - begin) % gradual.period() != 0 && t != end)) return std::nullopt;
    return CubicRate(gradual.initial_rate(), parameters_.rate(), begin, end, t);
  }

  const Unstructured parameters_;
  const LayerRanking ranking_;
};

absl::Status ValidateGradual(const Unstructured::Gradual& gradual, double rate) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("initial_rate", gradual.initial_rate()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("begin_epoch", gradual.begin_epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckEpoch("end_epoch", gradual.end_epoch()));
  PRUNELAB_RETURN_IF_ERROR(CheckPeriod("period", gradual.period()));
  if (gradual.initial_rate() > rate) {
    return FieldError("initial_rate",
                      absl::StrCat("is ", gradual.initial_rate(), "; must be at most rate (", rate, ")"));
  }
  if (gradual.end_epoch() <= gradual.begin_epoch()) {
    return FieldError("end_epoch", absl::StrCat("is ", gradual.end_epoch(), "; must be later than begin_epoch (",
                                                gradual.begin_epoch(), ")"));
  }
  return absl::OkStatus();
}

}  // namespace

double CubicRate(double initial_rate, double rate, int64_t begin, int64_t end, int64_t t) {
  const double left = static_cast<double>(end - t) / static_cast<double>(end - begin);
  return rate + (initial_rate - rate) * left * left * left;
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateUnstructured(const Unstructured& parameters,
                                                                    const PruningSetup& setup) {
  PRUNELAB_RETURN_IF_ERROR(CheckRate("rate", parameters.rate()));
  PRUNELAB_RETURN_IF_ERROR(InField("one_shot", CheckEpoch("epoch", parameters.one_shot().epoch())));
  if (parameters.has_gradual()) {
    PRUNELAB_RETURN_IF_ERROR(InField("gradual", ValidateGradual(parameters.gradual(), parameters.rate())));
  }
  PRUNELAB_ASSIGN_OR_RETURN(LayerRanking ranking, LayerRanking::Create({parameters.layers(), parameters.ranking(),
                                                                        Importance::L1, Granularity::kWeight},
                                                                       *setup.network));
  return std::make_unique<MagnitudePruning>(parameters, std::move(ranking));
}

}  // namespace prunelab
