#include <gtest/gtest.h>

#include "ml/regularizers/none.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/example_layers.h"

namespace prunelab {
namespace {

TEST(NoRegularizerTest, HasNeitherValueNorGradients) {
  const std::vector<RegularizedLayer> layers = FormulaLayers(at::kFloat, false);
  const std::unique_ptr<Regularizer> none = *CreateRegularizer(NoRegularizer(), FormulaNetwork());
  EXPECT_FALSE(none->Value(layers).defined());
  const Penalty penalty = none->ValueAndGradients(layers);
  EXPECT_FALSE(penalty.value.defined());
  ASSERT_EQ(penalty.gradients.size(), layers.size());
  for (const at::Tensor& gradient : penalty.gradients) EXPECT_FALSE(gradient.defined());
}

}  // namespace
}  // namespace prunelab
