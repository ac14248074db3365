#include "ml/pruning/importance.h"

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

TEST(ImportanceTest, OfFilters) {
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
      const at::Tensor importance = *LayerImportance(test.kind, Granularity::kFilter, Layer(dtype));
      EXPECT_EQ(importance.scalar_type(), dtype);
      EXPECT_TRUE(importance.sizes() == at::IntArrayRef({2, 1, 1, 1}));
      EXPECT_EQ(importance[0].item<double>(), test.first) << Importance::Kind_Name(test.kind);
      EXPECT_EQ(importance[1].item<double>(), test.second) << Importance::Kind_Name(test.kind);
    }
  }
}

TEST(ImportanceTest, OfWeights) {
  const PrunableLayer layer = Layer(at::kFloat);
  const auto expect = [&](Importance::Kind kind, const at::Tensor& values) {
    EXPECT_TRUE(at::equal(*LayerImportance(kind, Granularity::kWeight, layer), values.reshape({2, 2, 1, 2})))
        << Importance::Kind_Name(kind);
  };
  expect(Importance::L1, at::tensor({1.f, 2.f, 3.f, 6.f, 0.f, 0.5f, 0.5f, 1.f}));
  expect(Importance::L2, at::tensor({1.f, 4.f, 9.f, 36.f, 0.f, 0.25f, 0.25f, 1.f}));
  expect(Importance::GRADIENT, at::tensor({1.f, 1.f, 2.f, 0.f, 4.f, 2.f, 2.f, 8.f}));
  expect(Importance::WEIGHT_TIMES_GRADIENT, at::tensor({1.f, 2.f, 6.f, 0.f, 0.f, 1.f, 1.f, 8.f}));
}

TEST(ImportanceTest, DoesNotDependOnTheMemoryFormat) {
  at::manual_seed(1);
  PrunableLayer layer = Layer(at::kFloat);
  layer.weight = at::randn({64, 48, 3, 3});
  const at::Tensor expected = layer.weight.abs().mean({1, 2, 3});
  layer.weight = layer.weight.contiguous(at::MemoryFormat::ChannelsLast);
  const at::Tensor importance = *LayerImportance(Importance::L1, Granularity::kFilter, layer);
  EXPECT_TRUE(at::equal(importance.reshape({-1}), expected));
}

TEST(ImportanceTest, RefusesAGradientThatIsNotThere) {
  PrunableLayer layer = Layer(at::kFloat);
  layer.gradient = at::Tensor();
  for (const auto kind : {Importance::GRADIENT, Importance::WEIGHT_TIMES_GRADIENT}) {
    EXPECT_TRUE(NeedsGradient(kind));
    const absl::Status status = LayerImportance(kind, Granularity::kFilter, layer).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("conv1: importance " + Importance::Kind_Name(kind)));
  }
  for (const auto kind : {Importance::L1, Importance::L2}) {
    EXPECT_FALSE(NeedsGradient(kind));
    EXPECT_TRUE(LayerImportance(kind, Granularity::kFilter, layer).ok());
  }
}

}  // namespace
}  // namespace prunelab
