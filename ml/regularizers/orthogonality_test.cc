#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/orthogonality.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(Orthogonality::Gram gram, Orthogonality::Scale scale) {
  Orthogonality parameters;
  parameters.set_gram(gram);
  parameters.set_scale(scale);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(OrthogonalityTest, ByHand) {
  // Filters (1, 1, 0) and (1, -2, 0): W W^T - I = ((1, -1), (-1, 4)), squares 1 + 1 + 1 + 16 = 19. W^T W - I has the
  // same entries and -1 for the third weight: 20. Gradient 4 (W W^T - I) W: 4 (f_1 - f_2) = (0, 12, 0) and 4 (-f_1 + 4
  // f_2) = (12, -36, 0). A third filter is masked off.
  const at::Tensor weight = at::tensor({1.0, 1.0, 0.0, 5.0, 6.0, 7.0, 1.0, -2.0, 0.0}, at::kDouble).view({3, 1, 1, 3});
  const at::Tensor gradient =
      at::tensor({0.0, 12.0, 0.0, 0.0, 0.0, 0.0, 12.0, -36.0, 0.0}, at::kDouble).view({3, 1, 1, 3});
  const at::Tensor mask = at::tensor({1.0, 0.0, 1.0}, at::kDouble).view({3, 1, 1, 1});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight, mask)};
  struct Case {
    Orthogonality::Gram gram;
    Orthogonality::Scale scale;
    double value, factor;
  };
  for (const Case& c :
       {Case{Orthogonality::FILTERS, Orthogonality::SUM, 19, 1}, Case{Orthogonality::INPUTS, Orthogonality::SUM, 20, 1},
        Case{Orthogonality::BOTH, Orthogonality::SUM, 39, 2},
        Case{Orthogonality::FILTERS, Orthogonality::MEAN, 19.0 / 4, 1.0 / 4},
        Case{Orthogonality::INPUTS, Orthogonality::MEAN, 20.0 / 9, 1.0 / 9}}) {
    const Penalty penalty = Make(c.gram, c.scale)->ValueAndGradients(layers);
    EXPECT_NEAR(penalty.value.item<double>(), c.value, 1e-14);
    EXPECT_LE((penalty.gradients[0] - c.factor * gradient).abs().max().item<double>(), 1e-14);
  }
}

TEST(OrthogonalityTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(Orthogonality::FILTERS, Orthogonality::SUM), reference::kOrthogonality, false);
  ExpectReference(*Make(Orthogonality::FILTERS, Orthogonality::SUM), reference::kOrthogonalityMasked, true);
  ExpectReference(*Make(Orthogonality::INPUTS, Orthogonality::MEAN), reference::kOrthogonalityInputsMean, false);
  ExpectReference(*Make(Orthogonality::INPUTS, Orthogonality::MEAN), reference::kOrthogonalityInputsMeanMasked, true);
  ExpectReference(*Make(Orthogonality::BOTH, Orthogonality::MEAN), reference::kOrthogonalityBothMean, false);
  ExpectReference(*Make(Orthogonality::BOTH, Orthogonality::MEAN), reference::kOrthogonalityBothMeanMasked, true);
}

}  // namespace
}  // namespace prunelab
