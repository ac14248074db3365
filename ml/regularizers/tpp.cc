#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/tpp.pb.h"

namespace prunelab {
namespace {

at::Tensor Term(double rate, const RegularizedLayer& layer) {
  const at::Tensor rows = FilterRows(AppliedWeight(layer));
  const int64_t n = rows.size(0), goes = std::min(static_cast<int64_t>(static_cast<double>(n) * rate) + 1, n - 1);
  if (goes < 1) return {};
  const at::Tensor order =
      std::get<1>(rows.detach().abs().mean(1).sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  const at::Tensor stays = at::ones({n}, rows.options().requires_grad(false)).index_fill(0, order.slice(0, 0, goes), 0);
  return (rows.mm(rows.t()).square() * (1 - stays.outer(stays))).sum();
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateTpp(const Tpp& parameters, const NetworkInfo& network) {
  const double rate = parameters.rate();
  if (!(rate >= 0 && rate < 1)) return FieldError("rate", absl::StrCat("is ", rate, "; must be in [0, 1)"));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, PenalizedConvs(parameters, network));
  return MakeLayerPenalty(std::move(convs), [rate](const RegularizedLayer& layer, PenaltySum& sum) {
    if (rate > 0) sum.Add(Term(rate, layer));
  });
}
const bool registered = RegisterRegularizer(&CreateTpp);

}  // namespace
}  // namespace prunelab
