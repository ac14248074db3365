#include "ml/regularizers/zhu_decorrelation.h"

#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation.h"
#include "ml/regularizers/correlation_penalty.h"
#include "ml/regularizers/group_norms.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/zhu_decorrelation.pb.h"

namespace prunelab {
namespace {

at::Tensor TermOnCpu(const RegularizedLayer& layer) {
  const at::Tensor rho = FilterCorrelations(layer);
  const double n = static_cast<double>(rho.size(0));
  // Each pair occurs twice in P.
  return at::linalg_vector_norm(rho.triu(1)) * (n < 2 ? 0 : std::sqrt(2.0) / n);
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateZhuDecorrelation(const ZhuDecorrelation& parameters,
                                                                    const NetworkInfo& network) {
  const double weight = parameters.group_lasso_weight();
  if (!(weight >= 0 && std::isfinite(weight))) {
    return FieldError("group_lasso_weight", absl::StrCat("is ", weight, "; must be at least 0 and finite, e.g. 2e-4"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  const std::map<std::string, int64_t> groups = ConvGroups(convs, network);
  return MakeLayerPenalty(std::move(convs), [=](const RegularizedLayer& layer, PenaltySum& sum) {
    sum.Add(layer.weight.is_cpu() ? TermOnCpu(layer) : ZhuTermOnDevice(layer));
    if (weight == 0) return;
    sum.Add((FilterNormSum(layer) + ChannelNormSum(layer, groups.at(layer.node))) * (0.5 * weight));
  });
}
const bool registered = RegisterRegularizer(&CreateZhuDecorrelation);

}  // namespace

at::Tensor ZhuTermOnDevice(const RegularizedLayer& layer) {
  const UnitRows unit = LiveUnitRows(layer, /*centred=*/true);
  const at::Tensor n = unit.live.sum();
  const at::Tensor factor = (n.reciprocal() * std::sqrt(2.0)).masked_fill(n.lt(2), 0);
  return at::linalg_vector_norm(unit.rows.mm(unit.rows.t()).triu(1)) * factor;
}

}  // namespace prunelab
