// Compares a regularizer on FormulaLayers with the values of numpy and PyTorch, and with autograd through its own
// Value.
#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/example_layers.h"
#include "ml/regularizers/testing/reference_values.h"

namespace prunelab {

inline void ExpectReference(const Regularizer& regularizer, const reference::PenaltyValues& expected, bool masked) {
  for (const at::MemoryFormat format : {at::MemoryFormat::Contiguous, at::MemoryFormat::ChannelsLast}) {
    std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, masked);
    for (RegularizedLayer& layer : layers) layer.weight = layer.weight.contiguous(format);
    EXPECT_NEAR(regularizer.Value(layers).item<double>(), expected.value, 1e-12 * expected.value);
    const Penalty penalty = regularizer.ValueAndGradients(layers);
    EXPECT_NEAR(penalty.value.item<double>(), expected.value, 1e-12 * expected.value);
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor gradient = GradientOrZero(penalty, layers, i);
      const at::Tensor direction = FormulaDirection(layers[i].weight, static_cast<int>(i));
      EXPECT_NEAR((gradient * direction).sum().item<double>(), expected.projection[i], 1e-11) << layers[i].node;
      EXPECT_NEAR(gradient.norm().item<double>(), expected.norm[i], 1e-12 * expected.norm[i]) << layers[i].node;
    }
  }
}

// The closed form is autograd's gradient to rounding, on small layers and on ResNet-56's.
inline void ExpectClosedFormIsAutograd(const Regularizer& on_formula, const Regularizer& on_resnet56) {
  for (const bool masked : {false, true}) {
    const AutogradDifference exact = DifferenceFromAutograd(on_formula, FormulaLayers(at::kDouble, masked));
    EXPECT_LE(exact.value, 1e-12);
    EXPECT_LE(exact.gradients, 1e-12);
    const AutogradDifference single = DifferenceFromAutograd(on_formula, FormulaLayers(at::kFloat, masked));
    EXPECT_LE(single.value, 1e-5);
    EXPECT_LE(single.gradients, 1e-5);
  }
  const AutogradDifference exact = DifferenceFromAutograd(on_resnet56, ResNet56Layers(at::kDouble));
  EXPECT_LE(exact.value, 1e-12);
  EXPECT_LE(exact.gradients, 1e-12);
  const AutogradDifference single = DifferenceFromAutograd(on_resnet56, ResNet56Layers(at::kFloat));
  EXPECT_LE(single.value, 1e-5);
  EXPECT_LE(single.gradients, 1e-4);
}

}  // namespace prunelab
