#include "ml/regularizers/correlation_penalty.h"

#include <ATen/ATen.h>

#include <utility>
#include <vector>

#include "ml/regularizers/conv_batches.h"
#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/correlation.h"
#include "ml/regularizers/layer_penalty.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

class CorrelationPenalty : public Regularizer {
 public:
  CorrelationPenalty(std::set<std::string> convs, Phi phi) : convs_(std::move(convs)), phi_(std::move(phi)) {}

  at::Tensor Value(const std::vector<RegularizedLayer>& layers) const override;
  Penalty ValueAndGradients(const std::vector<RegularizedLayer>& layers) const override;

 private:
  const std::set<std::string> convs_;
  const Phi phi_;
};

at::Tensor CorrelationPenalty::Value(const std::vector<RegularizedLayer>& layers) const {
  PenaltySum sum;
  for (const RegularizedLayer& layer : layers) {
    if (convs_.count(layer.node) == 0 || layer.kind != RegularizedLayer::Kind::kConv) continue;
    const at::Tensor rho = FilterCorrelations(layer);
    const double n = static_cast<double>(rho.size(0));
    sum.Add(phi_.value(rho.triu(1)).sum() * (n < 2 ? 0 : 2 / (n * (n - 1))));
  }
  return sum.value();
}

Penalty CorrelationPenalty::ValueAndGradients(const std::vector<RegularizedLayer>& layers) const {
  Penalty penalty;
  penalty.gradients.resize(layers.size());
  const std::vector<ConvGroup> groups = GroupConvs(layers, convs_);
  std::vector<at::Tensor> values(groups.size());
  ForEachGroup(groups, layers, [&](size_t g) {
    const ConvBatch batch = StackConvs(layers, groups[g]);
    const CentredRows rows = Centre(batch.rows, batch.filter_mask, /*in_place=*/true);
    const at::Tensor dead = rows.live.logical_not();
    const at::Tensor inverse_norms = rows.norms.reciprocal().masked_fill_(dead, 0);          // [L, n]
    const at::Tensor scale = inverse_norms.unsqueeze(2) * inverse_norms.unsqueeze(1);        // 1 / (|c_i| |c_j|)
    const at::Tensor rho = at::bmm(rows.centred, rows.centred.transpose(1, 2)).mul_(scale);  // [L, n, n]
    rho.diagonal(0, 1, 2).zero_();
    const at::Tensor count = rows.live.sum(1).to(rho.scalar_type());
    // 1 / (n (n - 1)), because every pair occurs twice in the full matrix.
    const at::Tensor pair_weight = (count * (count - 1)).reciprocal_().masked_fill_(count.lt(2), 0);
    values[g] = (phi_.value(rho).sum(at::IntArrayRef{1, 2}) * pair_weight).sum();

    const at::Tensor derivative = phi_.derivative(rho).mul_((2 * pair_weight).view({-1, 1, 1}));
    derivative.diagonal(0, 1, 2).sub_((derivative * rho).sum(2));  // g . u
    StoreGradients(at::bmm(derivative.mul_(scale), rows.centred), layers, groups[g], penalty.gradients);
  });
  if (!values.empty()) penalty.value = at::stack(values).sum();
  return penalty;
}

}  // namespace

std::unique_ptr<Regularizer> MakeCorrelationPenalty(std::set<std::string> convs, Phi phi) {
  return std::make_unique<CorrelationPenalty>(std::move(convs), std::move(phi));
}

absl::StatusOr<std::set<std::string>> SelectCorrelatedConvs(const LayerSelection& layers, bool include_pointwise,
                                                            const NetworkInfo& network) {
  if (include_pointwise) {
    return SelectConvs(
        layers, network, [](const ConvInfo&) { return true; }, "any kernel");
  }
  return SelectConvs(
      layers, network, [](const ConvInfo& conv) { return conv.kernel_height * conv.kernel_width > 1; },
      "a kernel larger than 1x1");
}

}  // namespace prunelab
