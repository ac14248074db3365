// Layers for the tests and benchmarks of regularizers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ml/network/network.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {

// A convolution's layer; `mask` may be undefined.
RegularizedLayer ConvLayer(const std::string& node, const at::Tensor& weight, const at::Tensor& mask = {});

// Entry k (in contiguous order) is 0.1 sin(1.7 k + index) + 0.05 cos(0.3 k k + 2 index), in float64. The formula of
// tools/reference/regularizers_values.py.
at::Tensor FormulaWeight(const std::vector<int64_t>& shape, int index);

// The layers that the reference values are of: "a" [4, 2, 3, 3], "b" [5, 4, 3, 3], "c" [4, 5, 2, 2], "d" [6, 4, 1, 1],
// with FormulaWeight(shape, 0), (shape, 1), ... Masked: filter 1 of "a" is off; of the weights of "b" those with (7 k)
// % 5 < 2 are off, and all of filter 3.
std::vector<RegularizedLayer> FormulaLayers(at::ScalarType dtype, bool masked);

// The network of those layers in a row.
NetworkInfo FormulaNetwork();

// cos(0.7 k + index) in the weight's shape: what reference gradients are projected on.
at::Tensor FormulaDirection(const at::Tensor& weight, int index);

// ResNet-56 for CIFAR with freshly initialised weights, all its layers.
NetworkInfo ResNet56();
std::vector<RegularizedLayer> ResNet56Layers(at::ScalarType dtype);

// A test's view of a penalty: undefined means zero.
double ValueOrZero(const at::Tensor& value);
at::Tensor GradientOrZero(const Penalty& penalty, const std::vector<RegularizedLayer>& layers, size_t index);

// The largest difference between the regularizer's own ValueAndGradients and autograd through its Value, each relative
// to the largest entry (of the value, and of all gradients).
struct AutogradDifference {
  double value = 0;
  double gradients = 0;
};
AutogradDifference DifferenceFromAutograd(const Regularizer& regularizer, const std::vector<RegularizedLayer>& layers);

}  // namespace prunelab
