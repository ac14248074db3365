#include <ATen/ATen.h>

#include <utility>

#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation_penalty.h"
#include "ml/regularizers/squared_correlation.pb.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<Regularizer>> CreateSquaredCorrelation(const SquaredCorrelation& parameters,
                                                                      const NetworkInfo& network) {
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  return MakeCorrelationPenalty(std::move(convs), {[](const at::Tensor& rho) { return rho * rho; },
                                                   [](const at::Tensor& rho) { return 2 * rho; }});
}
const bool registered = RegisterRegularizer(&CreateSquaredCorrelation);

}  // namespace
}  // namespace prunelab
