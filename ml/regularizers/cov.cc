#include <ATen/ATen.h>

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation_penalty.h"
#include "ml/regularizers/cov.pb.h"

namespace prunelab {
namespace {

// sqrt(rho^2 + delta^2) - delta, written without the difference of two nearly equal numbers.
Phi SmoothAbsoluteValue(double delta) {
  return {[delta](const at::Tensor& rho) {
            const at::Tensor square = rho * rho;
            return square / ((square + delta * delta).sqrt() + delta);
          },
          [delta](const at::Tensor& rho) { return rho / (rho * rho + delta * delta).sqrt_(); }};
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateCov(const Cov& parameters, const NetworkInfo& network) {
  const double delta = parameters.delta();
  if (!(delta >= 1e-12 && std::isfinite(delta))) {
    return FieldError("delta", absl::StrCat("is ", delta, "; must be a finite number of at least 1e-12, e.g. 0.01"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  return MakeCorrelationPenalty(std::move(convs), SmoothAbsoluteValue(delta));
}
const bool registered = RegisterRegularizer(&CreateCov);

}  // namespace
}  // namespace prunelab
