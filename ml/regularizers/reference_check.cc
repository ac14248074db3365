#include "ml/regularizers/reference_check.h"

#include <ATen/ATen.h>

namespace prunelab {

void ExpectReference(const Regularizer& regularizer, const ReferenceCase& reference) {
  const std::vector<RegularizedLayer> layers = ExampleLayers();
  const Penalty penalty = regularizer.ValueAndGradients(layers);
  ASSERT_TRUE(penalty.value.defined());
  EXPECT_NEAR(penalty.value.item<double>(), reference.value, 1e-12 * reference.value);
  EXPECT_NEAR(regularizer.Value(layers).item<double>(), reference.value, 1e-12 * reference.value);
  ASSERT_EQ(penalty.gradients.size(), layers.size());
  size_t conv = 0;
  for (size_t i = 0; i < layers.size(); ++i) {
    const at::Tensor& weight = layers[i].weight;
    const at::Tensor gradient = penalty.gradients[i].defined() ? penalty.gradients[i] : at::zeros_like(weight);
    if (layers[i].kind != RegularizedLayer::Kind::kConv) {
      EXPECT_EQ(gradient.norm().item<double>(), 0) << layers[i].node;
      continue;
    }
    ASSERT_LT(conv, reference.norms.size());
    const double norm = reference.norms[conv];
    EXPECT_NEAR(gradient.norm().item<double>(), norm, 1e-12 * norm) << layers[i].node;
    const auto product = [&](int64_t salt) {
      return (gradient * FormulaTensor(weight.sizes(), salt)).sum().item<double>();
    };
    EXPECT_NEAR(product(200), reference.products200[conv], 1e-11 * norm) << layers[i].node;
    EXPECT_NEAR(product(300), reference.products300[conv], 1e-11 * norm) << layers[i].node;
    ++conv;
  }
  EXPECT_EQ(conv, reference.norms.size());
}

}  // namespace prunelab
