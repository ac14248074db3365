#include "ml/regularizers/none.h"

#include <gtest/gtest.h>

#include "ml/regularizers/example_layers.h"

namespace prunelab {
namespace {

TEST(NoRegularizerTest, IsExactlyNothing) {
  const auto regularizer = CreateNoRegularizer(NoRegularizer(), ExampleNetwork());
  ASSERT_TRUE(regularizer.ok()) << regularizer.status();
  const std::vector<RegularizedLayer> layers = ExampleLayers();
  const Penalty penalty = (*regularizer)->ValueAndGradients(layers);
  EXPECT_FALSE(penalty.value.defined());
  ASSERT_EQ(penalty.gradients.size(), layers.size());
  for (const at::Tensor& gradient : penalty.gradients) EXPECT_FALSE(gradient.defined());
}

}  // namespace
}  // namespace prunelab
