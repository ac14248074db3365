#include "ml/regularizers/cov.h"

#include <ATen/ATen.h>

#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation_penalty.h"

namespace prunelab {
namespace {

class CovPenalty : public CorrelationPenalty {
 public:
  CovPenalty(double delta, std::set<std::string> convs) : CorrelationPenalty(std::move(convs)), delta_(delta) {}

 protected:
  // Written without the difference of two nearly equal numbers.
  at::Tensor Phi(const at::Tensor& rho) const override {
    const at::Tensor square = rho * rho;
    return square / ((square + delta_ * delta_).sqrt() + delta_);
  }
  at::Tensor PhiDerivative(const at::Tensor& rho) const override { return rho / (rho * rho + delta_ * delta_).sqrt_(); }

 private:
  double delta_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Regularizer>> CreateCov(const Cov& parameters, const NetworkInfo& network) {
  const double delta = parameters.delta();
  if (!(delta >= 1e-12 && std::isfinite(delta))) {
    return FieldError("delta", absl::StrCat("is ", delta, "; must be a finite number of at least 1e-12, e.g. 0.01"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  return std::make_unique<CovPenalty>(delta, std::move(convs));
}

}  // namespace prunelab
