#include "ml/regularizers/testing/example_layers.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ml/base/check.h"
#include "ml/execution/model.h"
#include "ml/models/resnet_cifar.h"
#include "ml/network/network_writer.h"

namespace prunelab {

RegularizedLayer ConvLayer(const std::string& node, const at::Tensor& weight, const at::Tensor& mask) {
  RegularizedLayer layer;
  layer.node = node;
  layer.weight = weight;
  layer.mask = mask;
  return layer;
}

at::Tensor FormulaWeight(const std::vector<int64_t>& shape, int index) {
  const at::Tensor k = at::arange(c10::multiply_integers(shape), at::kDouble);
  return ((1.7 * k + index).sin() * 0.1 + (0.3 * k * k + 2 * index).cos() * 0.05).view(shape);
}

std::vector<RegularizedLayer> FormulaLayers(at::ScalarType dtype, bool masked) {
  std::vector<RegularizedLayer> layers = {
      ConvLayer("a", FormulaWeight({4, 2, 3, 3}, 0)), ConvLayer("b", FormulaWeight({5, 4, 3, 3}, 1)),
      ConvLayer("c", FormulaWeight({4, 5, 2, 2}, 2)), ConvLayer("d", FormulaWeight({6, 4, 1, 1}, 3))};
  if (masked) {
    layers[0].mask = at::ones({4, 1, 1, 1}, at::kDouble);
    layers[0].mask[1].zero_();
    const at::Tensor k = at::arange(180, at::kLong).view({5, 4, 3, 3});
    layers[1].mask = (k * 7).remainder(5).ge(2).to(at::kDouble);
    layers[1].mask[3].zero_();
  }
  for (RegularizedLayer& layer : layers) {
    layer.weight = layer.weight.to(dtype);
    if (layer.mask.defined()) layer.mask = layer.mask.to(dtype);
  }
  return layers;
}

NetworkInfo FormulaNetwork() {
  NetworkWriter net;
  net.Image(2, 12, 12);
  net.Conv("a", "image", {4});
  net.Conv("b", "a", {5});
  net.Conv("c", "b", {4, 2});
  net.Conv("d", "c", {6, 1});
  net.GlobalAveragePool("pool", "d");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return *NetworkInfo::Create(net.Take());
}

at::Tensor FormulaDirection(const at::Tensor& weight, int index) {
  return (at::arange(weight.numel(), at::kDouble) * 0.7 + index).cos().view(weight.sizes());
}

NetworkInfo ResNet56() {
  ResNetCifar parameters;
  parameters.set_depth(56);
  return *NetworkInfo::Create(*CreateResNetCifar(parameters, {}));
}

std::vector<RegularizedLayer> ResNet56Layers(at::ScalarType dtype) {
  Model model = Model::Create(ResNet56(), dtype, at::kCPU);
  InitializeParameters(model, 1);
  std::vector<RegularizedLayer> layers;
  for (const Node& node : model.info().network().node()) {
    if (!model.Has(node.name() + ".weight")) continue;
    RegularizedLayer layer = ConvLayer(node.name(), model.Get(node.name() + ".weight").detach());
    if (node.has_batch_norm2d()) layer.kind = RegularizedLayer::Kind::kBatchNorm;
    if (node.has_linear()) layer.kind = RegularizedLayer::Kind::kLinear;
    layers.push_back(layer);
  }
  return layers;
}

double ValueOrZero(const at::Tensor& value) { return value.defined() ? value.item<double>() : 0; }

at::Tensor GradientOrZero(const Penalty& penalty, const std::vector<RegularizedLayer>& layers, size_t index) {
  const at::Tensor& gradient = penalty.gradients[index];
  return gradient.defined() ? gradient : at::zeros_like(layers[index].weight);
}

AutogradDifference DifferenceFromAutograd(const Regularizer& regularizer, const std::vector<RegularizedLayer>& layers) {
  const Penalty own = regularizer.ValueAndGradients(layers);
  const Penalty reference = regularizer.Regularizer::ValueAndGradients(layers);
  AutogradDifference difference;
  const double value = ValueOrZero(reference.value);
  difference.value = std::abs(ValueOrZero(own.value) - value) / std::max(std::abs(value), 1e-300);
  double largest = 0, gap = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor expected = GradientOrZero(reference, layers, i);
    largest = std::max(largest, expected.abs().max().item<double>());
    gap = std::max(gap, (GradientOrZero(own, layers, i) - expected).abs().max().item<double>());
  }
  difference.gradients = gap / std::max(largest, 1e-300);
  return difference;
}

}  // namespace prunelab
