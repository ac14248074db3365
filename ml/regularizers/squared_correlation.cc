#include "ml/regularizers/squared_correlation.h"

#include <ATen/ATen.h>

#include <set>
#include <string>
#include <utility>

#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation_penalty.h"

namespace prunelab {
namespace {

class SquaredCorrelationPenalty : public CorrelationPenalty {
 public:
  explicit SquaredCorrelationPenalty(std::set<std::string> convs) : CorrelationPenalty(std::move(convs)) {}

 protected:
  at::Tensor Phi(const at::Tensor& rho) const override { return rho * rho; }
  at::Tensor PhiDerivative(const at::Tensor& rho) const override { return 2 * rho; }
};

}  // namespace

absl::StatusOr<std::unique_ptr<Regularizer>> CreateSquaredCorrelation(const SquaredCorrelation& parameters,
                                                                      const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  return std::make_unique<SquaredCorrelationPenalty>(std::move(convs));
}

}  // namespace prunelab
