#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"
#include "ml/regularizers/tpp.pb.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(double rate) {
  Tpp parameters;
  parameters.set_rate(rate);
  return *CreateRegularizer(parameters, FormulaNetwork());
}

TEST(TppTest, ByHand) {
  // Filters a = (1, 0), b = (3, 4) and c = (2, 2). Of three, int(3 * 0.3) + 1 = 1 is to go: a, the smallest. Its
  // products: a.a = 1, a.b = 3 and a.c = 2, the latter two twice: 1 + 2 * 9 + 2 * 4 = 27; b and c are left alone.
  const at::Tensor weight = at::tensor({1.0, 0.0, 3.0, 4.0, 2.0, 2.0}, at::kDouble).view({3, 1, 1, 2});
  const Penalty penalty = Make(0.3)->ValueAndGradients({ConvLayer("a", weight)});
  EXPECT_EQ(penalty.value.item<double>(), 27);
  // By a: 4 (a.a) a + 4 (a.b) b + 4 (a.c) c = (4 + 36 + 16, 48 + 16); by b: 4 (a.b) a; by c: 4 (a.c) a.
  EXPECT_TRUE(
      at::equal(penalty.gradients[0], at::tensor({56.0, 64.0, 12.0, 0.0, 8.0, 0.0}, at::kDouble).view({3, 1, 1, 2})));
  // At 0.4, int(3 * 0.4) + 1 = 2 go, a and c: all pairs but b with itself. 27 + c.c^2 + 2 (c.b)^2 = 27 + 64 + 392.
  EXPECT_EQ(Make(0.4)->Value({ConvLayer("a", weight)}).item<double>(), 483);
  // One filter stays, whatever the rate.
  EXPECT_EQ(Make(0.99)->Value({ConvLayer("a", weight)}).item<double>(), 483);
  // A rate of 0 is no penalty, and a single filter is not one that is to go.
  EXPECT_FALSE(Make(0)->Value({ConvLayer("a", weight)}).defined());
  EXPECT_FALSE(Make(0.5)->Value({ConvLayer("a", weight.slice(0, 0, 1))}).defined());
}

TEST(TppTest, MaskedFiltersAreTheFirstToGoAndCostNothing) {
  const at::Tensor weight = at::tensor({1.0, 0.0, 3.0, 4.0, 2.0, 2.0}, at::kDouble).view({3, 1, 1, 2});
  const at::Tensor mask = at::tensor({1.0, 0.0, 1.0}, at::kDouble).view({3, 1, 1, 1});
  const Penalty penalty = Make(0.3)->ValueAndGradients({ConvLayer("a", weight, mask)});
  EXPECT_EQ(penalty.value.item<double>(), 0);
  EXPECT_EQ(penalty.gradients[0].abs().max().item<double>(), 0);
}

// Scale and shift of the batch norm of the filter that goes, by hand: 27 of the filters (above), and 5^2 + 7^2.
TEST(TppTest, BatchNormsOfFiltersThatGo) {
  NetworkWriter net;
  net.Image(1, 4, 4, "x");
  net.Conv("a", "x", {3, 1, 1, 0, false, 1, 1, 2});
  net.BatchNorm("bn", "a");
  net.Classifier("fc", "bn", 2);
  const NetworkInfo network = *NetworkInfo::Create(net.Take());
  Tpp parameters;
  parameters.set_rate(0.3);
  parameters.set_batch_norms(true);
  const std::unique_ptr<Regularizer> tpp = *CreateRegularizer(parameters, network);
  const at::Tensor weight = at::tensor({1.0, 0.0, 3.0, 4.0, 2.0, 2.0}, at::kDouble).view({3, 1, 1, 2});
  RegularizedLayer bn;
  bn.node = "bn";
  bn.kind = RegularizedLayer::Kind::kBatchNorm;
  bn.weight = at::tensor({5.0, 1.0, 2.0}, at::kDouble);
  bn.shift = at::tensor({-7.0, 3.0, 4.0}, at::kDouble);
  const Penalty penalty = tpp->ValueAndGradients({ConvLayer("a", weight), bn});
  EXPECT_EQ(penalty.value.item<double>(), 27 + 25 + 49);
  EXPECT_TRUE(at::equal(penalty.gradients[1], at::tensor({10.0, 0.0, 0.0}, at::kDouble)));
  ASSERT_EQ(penalty.shift_gradients.size(), 2u);
  EXPECT_FALSE(penalty.shift_gradients[0].defined());
  EXPECT_TRUE(at::equal(penalty.shift_gradients[1], at::tensor({-14.0, 0.0, 0.0}, at::kDouble)));
  // The published penalty is all there is: without batch norms nothing changes.
  EXPECT_TRUE(Make(0.3)->ValueAndGradients({ConvLayer("a", weight)}).shift_gradients.empty());
  EXPECT_EQ(ErrorField(CreateRegularizer(parameters, FormulaNetwork()).status()), "batch_norms");
}

TEST(TppTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(0.5), reference::kTpp, false);
  ExpectReference(*Make(0.5), reference::kTppMasked, true);
}

}  // namespace
}  // namespace prunelab
