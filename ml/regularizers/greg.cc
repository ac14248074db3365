#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/regularizers/coupled_norms.h"
#include "ml/regularizers/greg.pb.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {
namespace {

class GregPenalty : public Regularizer {
 public:
  GregPenalty(double rate, const NetworkInfo& network) : rate_(rate), norms_(network) {}

  bool prepares_removal() const override { return true; }

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    PenaltySum sum;
    const std::vector<at::Tensor> sets = norms_.Squares(layers);
    for (size_t s = 0; s < sets.size(); ++s) {
      const at::Tensor& squares = sets[s];
      if (!squares.defined()) continue;
      const int64_t goes = GroupsToGo(squares.numel(), rate_, s);
      if (goes < 1) continue;
      const at::Tensor order = std::get<1>(squares.detach().sort(/*stable=*/true, /*dim=*/0, /*descending=*/false));
      sum.Add(squares.index_select(0, order.slice(0, 0, goes)).sum() / 2);
    }
    return sum.value();
  }

 private:
  const double rate_;
  const CoupledNorms norms_;
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateGreg(const Greg& parameters, const NetworkInfo& network) {
  const double rate = parameters.rate();
  if (!(rate >= 0 && rate < 1)) return FieldError("rate", absl::StrCat("is ", rate, "; must be in [0, 1)"));
  return std::make_unique<GregPenalty>(rate, network);
}
const bool registered = RegisterRegularizer(&CreateGreg);

}  // namespace
}  // namespace prunelab
