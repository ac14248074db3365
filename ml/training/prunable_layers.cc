#include "ml/training/prunable_layers.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/network/readers.h"

namespace prunelab {

PrunableLayers::PrunableLayers(const Model& model) : model_(model) {
  std::map<std::string, size_t> indices;
  for (size_t i = 0; i < model.parameters().size(); ++i) indices[model.parameters()[i].name] = i;
  for (const ConvInfo& conv : model.info().convs()) {
    const std::string batch_norm = OwnBatchNorm(model.info(), conv.node);
    const auto scale = indices.find(absl::StrCat(batch_norm, ".weight"));
    const auto shift = indices.find(absl::StrCat(batch_norm, ".bias"));
    const bool has_both = scale != indices.end() && shift != indices.end();
    batch_norms_.push_back(has_both ? std::make_optional(std::pair(scale->second, shift->second)) : std::nullopt);
    PrunableLayer layer;
    layer.node = conv.node;
    layer.weight = model.Get(absl::StrCat(conv.node, ".weight")).detach();
    layer.mask = at::ones({conv.filters, 1, 1, 1}, layer.weight.options());
    layers_.push_back(std::move(layer));
  }
}

std::vector<PrunableLayer> PrunableLayers::Of(const std::map<std::string, at::Tensor>& gradients) const {
  std::vector<PrunableLayer> layers = layers_;
  for (PrunableLayer& layer : layers) {
    const auto mask = model_.masks().find(layer.node);
    if (mask != model_.masks().end()) layer.mask = mask->second;
    const auto gradient = gradients.find(layer.node);
    if (gradient != gradients.end()) layer.gradient = gradient->second;
  }
  return layers;
}

std::vector<PrunableLayer> PrunableLayers::Observed(const std::map<std::string, at::Tensor>& gradients,
                                                    const std::vector<at::Tensor>& parameter_gradients,
                                                    const PruningStrategy& strategy) const {
  std::vector<PrunableLayer> layers = Of(gradients);
  if (!strategy.needs_batch_norms()) return layers;
  PRUNELAB_CHECK(strategy.needs_gradients()) << "batch norms without gradients";
  for (size_t i = 0; i < layers.size(); ++i) {
    if (!batch_norms_[i]) continue;
    const auto [scale, shift] = *batch_norms_[i];
    layers[i].batch_norm = {model_.parameters()[scale].tensor.detach(), model_.parameters()[shift].tensor.detach(),
                            parameter_gradients[scale].detach(), parameter_gradients[shift].detach()};
  }
  return layers;
}

}  // namespace prunelab
