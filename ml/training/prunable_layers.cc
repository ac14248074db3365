#include "ml/training/prunable_layers.h"

#include <ATen/ATen.h>

#include <utility>

#include "absl/strings/str_cat.h"

namespace prunelab {

PrunableLayers::PrunableLayers(const Model& model) : model_(model) {
  for (const ConvInfo& conv : model.info().convs()) {
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

}  // namespace prunelab
