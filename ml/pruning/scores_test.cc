#include "ml/pruning/scores.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using ::testing::HasSubstr;

PrunableLayer Layer(at::ScalarType dtype) {
  PrunableLayer layer;
  layer.node = "conv1";
  layer.weight = at::tensor({1., -2., 3., -6., 0., 0.5, -0.5, 1.}).reshape({2, 2, 1, 2}).to(dtype);
  layer.mask = at::ones({2, 1, 1, 1}, dtype);
  layer.gradient = at::tensor({-1., 1., 2., 0., 4., -2., 2., -8.}).reshape({2, 2, 1, 2}).to(dtype);
  return layer;
}

TEST(ScoresTest, OfFilters) {
  const struct {
    Importance::Kind kind;
    double first, second;
  } cases[] = {
      {Importance::L1, 12. / 4, 2. / 4},
      {Importance::L2, 50. / 4, 1.5 / 4},
      {Importance::GRADIENT, 4. / 4, 16. / 4},
      {Importance::WEIGHT_TIMES_GRADIENT, 9. / 4, 10. / 4},
  };
  for (const auto& test : cases) {
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble}) {
      const at::Tensor importance = *LayerScores(ImportanceScores(test.kind), Granularity::kFilter, Layer(dtype));
      EXPECT_EQ(importance.scalar_type(), dtype);
      EXPECT_TRUE(importance.sizes() == at::IntArrayRef({2, 1, 1, 1}));
      EXPECT_EQ(importance[0].item<double>(), test.first) << Importance::Kind_Name(test.kind);
      EXPECT_EQ(importance[1].item<double>(), test.second) << Importance::Kind_Name(test.kind);
    }
  }
}

TEST(ScoresTest, OfWeights) {
  const PrunableLayer layer = Layer(at::kFloat);
  const auto expect = [&](Importance::Kind kind, const at::Tensor& values) {
    EXPECT_TRUE(
        at::equal(*LayerScores(ImportanceScores(kind), Granularity::kWeight, layer), values.reshape({2, 2, 1, 2})))
        << Importance::Kind_Name(kind);
  };
  expect(Importance::L1, at::tensor({1.f, 2.f, 3.f, 6.f, 0.f, 0.5f, 0.5f, 1.f}));
  expect(Importance::L2, at::tensor({1.f, 4.f, 9.f, 36.f, 0.f, 0.25f, 0.25f, 1.f}));
  expect(Importance::GRADIENT, at::tensor({1.f, 1.f, 2.f, 0.f, 4.f, 2.f, 2.f, 8.f}));
  expect(Importance::WEIGHT_TIMES_GRADIENT, at::tensor({1.f, 2.f, 6.f, 0.f, 0.f, 1.f, 1.f, 8.f}));
}

TEST(ScoresTest, DoesNotDependOnTheMemoryFormat) {
  at::manual_seed(1);
  PrunableLayer layer = Layer(at::kFloat);
  layer.weight = at::randn({64, 48, 3, 3});
  const at::Tensor expected = layer.weight.abs().mean({1, 2, 3});
  layer.weight = layer.weight.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor importance = *LayerScores(ImportanceScores(Importance::L1), Granularity::kFilter, layer);
  EXPECT_TRUE(at::equal(importance.reshape({-1}), expected));
}

TEST(ScoresTest, OfFiltersAlone) {
  const Scores scores = {[](const at::Tensor& weight, const at::Tensor&) { return weight.amax({1, 2, 3}, true); }};
  const at::Tensor of_filters = *LayerScores(scores, Granularity::kFilter, Layer(at::kFloat));
  EXPECT_TRUE(at::equal(of_filters, at::tensor({3.f, 1.f}).view({2, 1, 1, 1})));
}

TEST(ScoresTest, RefusesAGradientThatIsNotThere) {
  PrunableLayer layer = Layer(at::kFloat);
  layer.gradient = at::Tensor();
  for (const auto kind : {Importance::GRADIENT, Importance::WEIGHT_TIMES_GRADIENT}) {
    EXPECT_TRUE(ImportanceScores(kind).needs_gradients);
    const absl::Status status = LayerScores(ImportanceScores(kind), Granularity::kFilter, layer).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("conv1: its scores need the gradient"));
  }
  for (const auto kind : {Importance::L1, Importance::L2}) {
    EXPECT_FALSE(ImportanceScores(kind).needs_gradients);
    EXPECT_TRUE(LayerScores(ImportanceScores(kind), Granularity::kFilter, layer).ok());
  }
}

TEST(ScoresTest, NoScoresAreAnError) {
  const Scores unwritten = {[](const at::Tensor&, const at::Tensor&) { return at::Tensor(); }};
  const absl::Status status = LayerScores(unwritten, Granularity::kFilter, Layer(at::kFloat)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(std::string(status.message()), HasSubstr("conv1: the strategy gives it no scores"));
}

}  // namespace
}  // namespace prunelab
