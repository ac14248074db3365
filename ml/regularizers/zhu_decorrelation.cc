#include "ml/regularizers/zhu_decorrelation.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/regularizers/correlation.h"
#include "ml/regularizers/correlation_penalty.h"
#include "ml/regularizers/group_lasso.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

class ZhuDecorrelationPenalty : public Regularizer {
 public:
  // `convs`: node -> its number of groups.
  ZhuDecorrelationPenalty(double group_lasso_weight, std::map<std::string, int64_t> convs)
      : group_lasso_weight_(group_lasso_weight), convs_(std::move(convs)) {}

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    at::Tensor value;
    for (const RegularizedLayer& layer : layers) {
      const auto conv = convs_.find(layer.node);
      if (layer.kind != RegularizedLayer::Kind::kConv || conv == convs_.end()) continue;
      if (layer.weight.is_cpu()) {
        const at::Tensor rho = FilterCorrelations(layer);
        const double n = static_cast<double>(rho.size(0));
        // Each pair stands twice in P.
        Accumulate(value, at::linalg_vector_norm(rho.triu(1)) * (n < 2 ? 0 : std::sqrt(2.0) / n));
      } else {
        Accumulate(value, ZhuTermOnDevice(layer));
      }
      if (group_lasso_weight_ == 0) continue;
      Accumulate(value, (FilterNormSum(layer) + ChannelNormSum(layer, conv->second)) * (0.5 * group_lasso_weight_));
    }
    return value;
  }

 private:
  static void Accumulate(at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; }

  double group_lasso_weight_;
  std::map<std::string, int64_t> convs_;
};

}  // namespace

at::Tensor ZhuTermOnDevice(const RegularizedLayer& layer) {
  const UnitRows unit = LiveUnitRows(layer, /*centred=*/true);
  const at::Tensor n = unit.live.sum();
  const at::Tensor factor = (n.reciprocal() * std::sqrt(2.0)).masked_fill(n.lt(2), 0);
  return at::linalg_vector_norm(unit.rows.mm(unit.rows.t()).triu(1)) * factor;
}

absl::StatusOr<std::unique_ptr<Regularizer>> CreateZhuDecorrelation(const ZhuDecorrelation& parameters,
                                                                    const NetworkInfo& network) {
  const double weight = parameters.group_lasso_weight();
  if (!(weight >= 0 && std::isfinite(weight))) {
    return FieldError("group_lasso_weight", absl::StrCat("is ", weight, "; must be at least 0 and finite, e.g. 2e-4"));
  }
  PRUNELAB_ASSIGN_OR_RETURN(const std::set<std::string> selected,
                            SelectCorrelatedConvs(parameters.layers(), parameters.include_pointwise(), network));
  std::map<std::string, int64_t> convs;
  for (const std::string& node : selected) convs[node] = network.node(network.Index(node)).conv2d().groups();
  return std::make_unique<ZhuDecorrelationPenalty>(weight, std::move(convs));
}

}  // namespace prunelab
