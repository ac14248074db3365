#include <ATen/ATen.h>

#include <cmath>
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/regularizers/coupled_norms.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/sparse_group_norm.pb.h"

namespace prunelab {
namespace {

class SparseGroupNormPenalty : public Regularizer {
 public:
  SparseGroupNormPenalty(double alpha, const NetworkInfo& network) : alpha_(alpha), norms_(network) {}

  bool prepares_removal() const override { return true; }

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override {
    PenaltySum sum;
    for (const at::Tensor& squares : norms_.Squares(layers)) {
      if (!squares.defined()) continue;
      const at::Tensor norm = squares.detach().sqrt(), most = norm.max(), range = most - norm.min();
      const at::Tensor gamma = at::exp2(alpha_ * at::where(range > 0, (most - norm) / range, at::zeros_like(norm)));
      sum.Add((gamma * squares).sum() / 2);
    }
    return sum.value();
  }

 private:
  const double alpha_;
  const CoupledNorms norms_;
};

absl::StatusOr<std::unique_ptr<Regularizer>> CreateSparseGroupNorm(const SparseGroupNorm& parameters,
                                                                   const NetworkInfo& network) {
  const double alpha = parameters.alpha();
  if (!(alpha >= 0 && std::isfinite(alpha))) {
    return FieldError("alpha", absl::StrCat("is ", alpha, "; must be at least 0 and finite"));
  }
  return std::make_unique<SparseGroupNormPenalty>(alpha, network);
}
const bool registered = RegisterRegularizer(&CreateSparseGroupNorm);

}  // namespace
}  // namespace prunelab
