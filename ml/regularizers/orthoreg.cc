#include "ml/regularizers/orthoreg.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

at::Tensor Psi(const Orthoreg& parameters, const at::Tensor& cosine) {
  if (parameters.correlations() == Orthoreg::ALL) return cosine.square();
  return at::softplus((cosine - 1) * parameters.lambda());
}

at::Tensor TermOnCpu(const Orthoreg& parameters, const RegularizedLayer& layer) {
  const at::Tensor live = LiveFilters(layer).nonzero().squeeze(1);
  const double n = static_cast<double>(live.size(0));
  const at::Tensor rows = FilterRows(MaskedWeight(layer)).index_select(0, live);
  const at::Tensor directions = rows / at::linalg_vector_norm(rows, 2, at::IntArrayRef{1}, /*keepdim=*/true);
  const at::Tensor sum = Psi(parameters, directions.mm(directions.t())).triu(1).sum();
  const bool mean = parameters.scale() == Orthoreg::MEAN;
  return sum * (mean ? 2 / std::max(n * (n - 1), 1.0) : 2);
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateOrthoreg(const Orthoreg& parameters, const NetworkInfo& network) {
  const double lambda = parameters.lambda();
  if (!(lambda > 0 && std::isfinite(lambda))) {
    return FieldError("lambda", absl::StrCat("is ", lambda, "; must be above 0 and finite, e.g. 10"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, PenalizedConvs(parameters, network));
  return MakeLayerPenalty(std::move(convs), [parameters](const RegularizedLayer& layer, PenaltySum& sum) {
    sum.Add(layer.weight.is_cpu() ? TermOnCpu(parameters, layer) : OrthoregTermOnDevice(parameters, layer));
  });
}
const bool registered = RegisterRegularizer(&CreateOrthoreg);

}  // namespace

at::Tensor OrthoregTermOnDevice(const Orthoreg& parameters, const RegularizedLayer& layer) {
  const UnitRows unit = LiveUnitRows(layer, /*centred=*/false);
  const at::Tensor pairs = unit.live.unsqueeze(1) * unit.live.unsqueeze(0);
  const at::Tensor sum = (Psi(parameters, unit.rows.mm(unit.rows.t())) * pairs).triu(1).sum();
  if (parameters.scale() == Orthoreg::SUM) return sum * 2;
  const at::Tensor n = unit.live.sum();
  return sum * ((n * (n - 1)).clamp_min(1).reciprocal() * 2);
}

}  // namespace prunelab
