#include "ml/regularizers/correlation_penalty.h"

#include <ATen/ATen.h>

#include <map>
#include <tuple>

#include "ml/regularizers/conv_selection.h"
#include "ml/regularizers/correlation.h"
#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

void Accumulate(at::Tensor& sum, const at::Tensor& term) { sum = sum.defined() ? sum + term : term; }

// The filters of several layers as [layers, out, d], masked by weight masks, in memory of their own.
at::Tensor StackRows(const std::vector<RegularizedLayer>& layers, const std::vector<size_t>& group) {
  std::vector<at::Tensor> rows;
  for (const size_t i : group) rows.push_back(FilterRows(MaskedWeight(layers[i]).detach()));
  return at::stack(rows);
}

// Bool [layers, out], or undefined where no layer has a filter mask.
at::Tensor StackFilterMasks(const std::vector<RegularizedLayer>& layers, const std::vector<size_t>& group) {
  std::vector<at::Tensor> masks;
  bool any = false;
  for (const size_t i : group) {
    masks.push_back(FilterMask(layers[i]));
    any = any || masks.back().defined();
  }
  if (!any) return {};
  for (size_t k = 0; k < group.size(); ++k) {
    const at::Tensor& weight = layers[group[k]].weight;
    if (!masks[k].defined()) masks[k] = at::ones({weight.size(0)}, weight.options().dtype(at::kBool));
  }
  return at::stack(masks);
}

}  // namespace

at::Tensor CorrelationPenalty::Value(const std::vector<RegularizedLayer>& layers) const {
  at::Tensor value;
  for (const RegularizedLayer& layer : layers) {
    if (convs_.count(layer.node) == 0 || layer.kind != RegularizedLayer::Kind::kConv) continue;
    const at::Tensor rho = FilterCorrelations(layer);
    const double n = static_cast<double>(rho.size(0));
    Accumulate(value, Phi(rho.triu(1)).sum() * (n < 2 ? 0 : 2 / (n * (n - 1))));
  }
  return value;
}

Penalty CorrelationPenalty::ValueAndGradients(const std::vector<RegularizedLayer>& layers) const {
  const at::NoGradGuard no_gradients;
  Penalty penalty;
  penalty.gradients.resize(layers.size());
  for (const Group& group : GroupByShape(layers)) Accumulate(penalty.value, AddGroup(layers, group, penalty.gradients));
  return penalty;
}

std::vector<CorrelationPenalty::Group> CorrelationPenalty::GroupByShape(
    const std::vector<RegularizedLayer>& layers) const {
  std::map<std::tuple<at::ScalarType, int64_t, int64_t>, size_t> group_of;
  std::vector<Group> groups;
  for (size_t i = 0; i < layers.size(); ++i) {
    const RegularizedLayer& layer = layers[i];
    if (convs_.count(layer.node) == 0 || layer.kind != RegularizedLayer::Kind::kConv) continue;
    const int64_t out = layer.weight.size(0);
    if (out == 0) continue;
    const auto [entry, added] =
        group_of.try_emplace({layer.weight.scalar_type(), out, layer.weight.numel() / out}, groups.size());
    if (added) groups.emplace_back();
    groups[entry->second].push_back(i);
  }
  return groups;
}

at::Tensor CorrelationPenalty::AddGroup(const std::vector<RegularizedLayer>& layers, const Group& group,
                                        std::vector<at::Tensor>& gradients) const {
  const CentredRows rows = Centre(StackRows(layers, group), StackFilterMasks(layers, group), /*in_place=*/true);
  const at::Tensor dead = rows.live.logical_not();
  const at::Tensor inverse_norms = rows.norms.reciprocal().masked_fill_(dead, 0);          // [L, n]
  const at::Tensor scale = inverse_norms.unsqueeze(2) * inverse_norms.unsqueeze(1);        // 1 / (|c_i| |c_j|)
  const at::Tensor rho = at::bmm(rows.centred, rows.centred.transpose(1, 2)).mul_(scale);  // [L, n, n]
  rho.diagonal(0, 1, 2).zero_();
  const at::Tensor count = rows.live.sum(1).to(rho.scalar_type());
  // 1 / (n (n - 1)): every pair stands twice in the full matrix.
  const at::Tensor pair_weight = (count * (count - 1)).reciprocal_().masked_fill_(count.lt(2), 0);

  const at::Tensor derivative = PhiDerivative(rho).mul_((2 * pair_weight).view({-1, 1, 1}));
  const at::Tensor along_rows = (derivative * rho).sum(2);  // g . u
  derivative.diagonal(0, 1, 2).sub_(along_rows);
  const at::Tensor row_gradients = at::bmm(derivative.mul_(scale), rows.centred);  // [L, n, d]
  for (size_t k = 0; k < group.size(); ++k) {
    const RegularizedLayer& layer = layers[group[k]];
    at::Tensor gradient = FromFilterRows(row_gradients.select(0, static_cast<int64_t>(k)), layer.weight);
    if (HasWeightMask(layer)) gradient.mul_(layer.mask);
    gradients[group[k]] = gradient;
  }
  return (Phi(rho).sum({1, 2}) * pair_weight).sum();
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
