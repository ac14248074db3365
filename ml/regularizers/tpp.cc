#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/readers.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/tpp.pb.h"

namespace prunelab {
namespace {

// [n], 1 for a filter that stays, given the rows of the applied weight; undefined where none is to go.
at::Tensor Stays(double rate, const at::Tensor& rows) {
  const int64_t n = rows.size(0), goes = std::min(static_cast<int64_t>(static_cast<double>(n) * rate) + 1, n - 1);
  if (goes < 1) return {};
  const at::Tensor order =
      std::get<1>(rows.detach().abs().mean(1).sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
  return at::ones({n}, rows.options().requires_grad(false)).index_fill(0, order.slice(0, 0, goes), 0);
}

class TppPenalty : public Regularizer {
 public:
  // `batch_norms`: to be penalized, by convolution.
  TppPenalty(double rate, std::set<std::string> convs, std::map<std::string, std::string> batch_norms)
      : rate_(rate), convs_(std::move(convs)), batch_norms_(std::move(batch_norms)) {}

  bool prepares_removal() const override { return true; }

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    std::map<std::string, const RegularizedLayer*> by_node;
    for (const RegularizedLayer& layer : layers) by_node[layer.node] = &layer;
    PenaltySum sum;
    for (const RegularizedLayer& layer : layers) {
      if (rate_ == 0 || !convs_.count(layer.node)) continue;
      const at::Tensor rows = FilterRows(AppliedWeight(layer)), stays = Stays(rate_, rows);
      if (!stays.defined()) continue;
      sum.Add((rows.mm(rows.t()).square() * (1 - stays.outer(stays))).sum());
      const auto batch_norm = batch_norms_.find(layer.node);
      if (batch_norm == batch_norms_.end()) continue;
      const auto found = by_node.find(batch_norm->second);
      if (found == by_node.end()) continue;
      sum.Add((found->second->weight.square() * (1 - stays)).sum());
      if (found->second->shift.defined()) sum.Add((found->second->shift.square() * (1 - stays)).sum());
    }
    return sum.value();
  }

 private:
  const double rate_;
  const std::set<std::string> convs_;
  const std::map<std::string, std::string> batch_norms_;
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateTpp(const Tpp& parameters, const NetworkInfo& network) {
  const double rate = parameters.rate();
  if (!(rate >= 0 && rate < 1)) return FieldError("rate", absl::StrCat("is ", rate, "; must be in [0, 1)"));
  PRUNELAB_ASSIGN_OR_RETURN(std::set<std::string> convs, PenalizedConvs(parameters, network));
  std::map<std::string, std::string> batch_norms;
  if (parameters.batch_norms()) {
    batch_norms = OwnBatchNorms(network, convs);
    if (batch_norms.empty()) {
      return FieldError("batch_norms", absl::StrCat("is true, but none of the ", convs.size(),
                                                    " convolutions has a batch norm that reads it alone"));
    }
  }
  return std::make_unique<TppPenalty>(rate, std::move(convs), std::move(batch_norms));
}
const bool registered = RegisterRegularizer(&CreateTpp);

}  // namespace
}  // namespace prunelab
