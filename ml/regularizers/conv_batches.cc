#include "ml/regularizers/conv_batches.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <map>
#include <tuple>

#include "ml/regularizers/live_filters.h"

namespace prunelab {
namespace {

at::Tensor StackFilterMasks(const std::vector<RegularizedLayer>& layers, const std::vector<size_t>& batch) {
  std::vector<at::Tensor> masks;
  bool any = false;
  for (const size_t i : batch) {
    masks.push_back(FilterMask(layers[i]));
    any = any || masks.back().defined();
  }
  if (!any) return {};
  for (size_t k = 0; k < batch.size(); ++k) {
    const at::Tensor& weight = layers[batch[k]].weight;
    if (!masks[k].defined()) masks[k] = at::ones({weight.size(0)}, weight.options().dtype(at::kBool));
  }
  return at::stack(masks);
}

}  // namespace

void ConvBatch::StoreGradients(const at::Tensor& row_gradients, const std::vector<RegularizedLayer>& all_layers,
                               std::vector<at::Tensor>& gradients) const {
  for (size_t k = 0; k < layers.size(); ++k) {
    const RegularizedLayer& layer = all_layers[layers[k]];
    at::Tensor gradient = FromFilterRows(row_gradients.select(0, static_cast<int64_t>(k)), layer.weight);
    if (HasWeightMask(layer)) gradient.mul_(layer.mask);
    gradients[layers[k]] = gradient;
  }
}

std::vector<ConvBatch> BatchConvs(const std::vector<RegularizedLayer>& layers, const std::set<std::string>& convs) {
  const at::NoGradGuard no_gradients;
  std::map<std::tuple<at::ScalarType, bool, std::vector<int64_t>>, size_t> batch_of;
  std::vector<ConvBatch> batches;
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor& weight = layers[i].weight;
    if (layers[i].kind != RegularizedLayer::Kind::kConv || convs.count(layers[i].node) == 0) continue;
    const bool channels_last = weight.is_contiguous(at::MemoryFormat::ChannelsLast);
    const auto [entry, added] =
        batch_of.try_emplace({weight.scalar_type(), channels_last, weight.sizes().vec()}, batches.size());
    if (added) batches.emplace_back();
    batches[entry->second].layers.push_back(i);
  }
  for (ConvBatch& batch : batches) {
    std::vector<at::Tensor> rows;
    for (const size_t i : batch.layers) rows.push_back(FilterRows(MaskedWeight(layers[i])));
    batch.rows = at::stack(rows);
    batch.filter_mask = StackFilterMasks(layers, batch.layers);
  }
  return batches;
}

}  // namespace prunelab
