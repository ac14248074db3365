#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/srip.pb.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(Srip::Variant variant, int64_t iterations = 1, bool squared = false) {
  Srip parameters;
  parameters.set_variant(variant);
  parameters.set_iterations(iterations);
  parameters.set_squared(squared);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

// A weight of the layer "d", [6, 4, 1, 1]: filters 2 e_0, e_1, e_2, e_3, 0, 0.
at::Tensor DoubledFirst() {
  at::Tensor weight = at::zeros({6, 4, 1, 1}, at::kDouble);
  weight[0][0].fill_(2);
  for (int64_t i = 1; i < 4; ++i) weight[i][i].fill_(1);
  return weight;
}

at::Tensor FirstEntry(double value) {
  at::Tensor gradient = at::zeros({6, 4, 1, 1}, at::kDouble);
  gradient[0][0].fill_(value);
  return gradient;
}

TEST(SripTest, ByHand) {
  // Filters 0 and 1 are on: W W^T - I = diag(3, 0). One product turns any start into e_0, so sigma = 3; its derivative
  // is that of the first diagonal entry, w_0 . w_0 - 1: 2 w_0 = (4, 0, 0, 0).
  at::Tensor mask = at::zeros({6, 1, 1, 1}, at::kDouble);
  mask.narrow(0, 0, 2).fill_(1);
  const std::vector<RegularizedLayer> layers = {ConvLayer("d", DoubledFirst(), mask)};
  const Penalty sigma = Make(Srip::PAPER)->ValueAndGradients(layers);
  EXPECT_NEAR(sigma.value.item<double>(), 3, 1e-14);
  EXPECT_LE((sigma.gradients[0] - FirstEntry(4)).abs().max().item<double>(), 1e-13);
  const Penalty square = Make(Srip::PAPER, 5, true)->ValueAndGradients(layers);
  EXPECT_NEAR(square.value.item<double>(), 9, 1e-13);
  EXPECT_LE((square.gradients[0] - FirstEntry(24)).abs().max().item<double>(), 1e-12);
}

TEST(SripTest, TheRepositorysCodeLooksAtNoMask) {
  // W^T W - I = diag(3, 0, 0, 0) over all six filters: 9 with the gradient 2 * 3 * 4, though the mask takes filter 0
  // away.
  at::Tensor mask = at::ones({6, 1, 1, 1}, at::kDouble);
  mask[0].zero_();
  std::vector<RegularizedLayer> layers = {ConvLayer("d", DoubledFirst(), mask)};
  const std::unique_ptr<Regularizer> repository = Make(Srip::REPOSITORY);
  const Penalty penalty = repository->ValueAndGradients(layers);
  EXPECT_NEAR(penalty.value.item<double>(), 9, 1e-13);
  EXPECT_LE((penalty.gradients[0] - FirstEntry(24)).abs().max().item<double>(), 1e-12);
  // Linear layers are layers like others: zeros give sigma = |-x| = 1.
  RegularizedLayer linear = ConvLayer("fc", at::zeros({3, 6}, at::kDouble));
  linear.kind = RegularizedLayer::Kind::kLinear;
  layers.push_back(linear);
  EXPECT_NEAR(repository->Value(layers).item<double>(), 10, 1e-13);
}

TEST(SripTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(Srip::PAPER), reference::kSrip, false);
  ExpectReference(*Make(Srip::PAPER), reference::kSripMasked, true);
  ExpectReference(*Make(Srip::PAPER, 3, true), reference::kSripThreeSquared, false);
  ExpectReference(*Make(Srip::PAPER, 3, true), reference::kSripThreeSquaredMasked, true);
  ExpectReference(*Make(Srip::REPOSITORY), reference::kSripRepository, false);
  ExpectReference(*Make(Srip::REPOSITORY), reference::kSripRepositoryMasked, true);
}

TEST(SripTest, ManyIterationsGiveTheSpectralNorm) {
  std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, false);
  for (RegularizedLayer& layer : layers) layer.weight = 10 * layer.weight;
  const double value = Make(Srip::PAPER, 1000)->Value(layers).item<double>();
  EXPECT_NEAR(value, reference::kSpectralNorms, 1e-10 * reference::kSpectralNorms);
}

TEST(SripTest, TheSeedChoosesTheStart) {
  std::set<double> values;
  for (const int64_t seed : {1, 2, 3}) {
    Srip parameters;
    parameters.set_seed(seed);
    values.insert(
        (*CreateRegularizer(parameters, FormulaNetwork()))->Value(FormulaLayers(at::kDouble, false)).item<double>());
  }
  EXPECT_EQ(values.size(), 3u);
}

}  // namespace
}  // namespace prunelab
