#include "ml/training/agreement.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ml/execution/latency.h"
#include "ml/network/network_writer.h"
#include "ml/training/evaluate.h"

namespace prunelab {
namespace {

// Logits are the pixels of the two channels.
Model Identity() {
  NetworkWriter net;
  net.Classifier("fc", net.Image(2, 1, 1), 2);
  Model model = Model::Create(*NetworkInfo::Create(net.Take()), at::kFloat, at::kCPU);
  model.Get("fc.weight").detach().copy_(at::eye(2));
  return model;
}

at::Tensor Images(const std::vector<float>& values) {
  return at::tensor(values, at::kFloat).view({static_cast<int64_t>(values.size()) / 2, 2, 1, 1});
}

TEST(AgreementTest, PredictionsMayDifferOnlyWhereTheBestAreNear) {
  Model a = Identity(), b = Identity();
  ReferencePlan plan;
  const at::Tensor images = Images({1, 0, 10, 9.9995f, 0, 4});
  const Agreement same = CompareOnImages(a, b, plan, images, 1e-4);
  EXPECT_EQ(same.images, 3);
  EXPECT_EQ(same.largest_difference, 0);
  EXPECT_EQ(same.differing_predictions, 0);
  b.Get("fc.bias").detach().copy_(at::tensor({0.0f, 0.001f}));  // changes the prediction for the second image
  const Agreement near = CompareOnImages(a, b, plan, images, 1e-4);
  EXPECT_NEAR(near.largest_difference, 1e-4, 1e-6);
  EXPECT_EQ(near.differing_predictions, 1);
  EXPECT_EQ(near.unexplained_predictions, 0);  // 0.0005 apart, 0.001 allowed
  EXPECT_EQ(CompareOnImages(a, b, plan, images, 1e-5).unexplained_predictions, 1);
  b.Get("fc.bias").detach().copy_(at::tensor({0.0f, 2.0f}));
  EXPECT_EQ(CompareOnImages(a, b, plan, images, 1e-4).unexplained_predictions, 1);
}

TEST(AgreementTest, LogitsThatAreNotFiniteAreCounted) {
  Model a = Identity(), b = Identity();
  ReferencePlan plan;
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(CompareOnImages(a, b, plan, Images({1, 0, 10, 9, 0, 4}), 1e-4).not_finite, 0);
  EXPECT_EQ(CompareOnImages(a, b, plan, Images({1, 0, 10, infinity, 0, 4}), 1e-4).not_finite, 1);
  b.Get("fc.bias").detach().copy_(at::tensor({std::nanf(""), 0.0f}));  // of b alone
  EXPECT_EQ(CompareOnImages(a, b, plan, Images({1, 0, 10, 9, 0, 4}), 1e-4).not_finite, 3);
}

TEST(AgreementTest, OnDataBatchByBatch) {
  Model a = Identity(), b = Identity();
  b.Get("fc.bias").detach().copy_(at::tensor({0.0f, 2.0f}));
  LabelledImages data{Images({1, 0, 2, 0, 3, 0, 5, 0}), at::zeros({4}, at::kLong)};
  const Normalization normalization{1, {0, 0}, {1, 1}};
  ReferencePlan plan;
  const Agreement agreement = *CompareOnData(a, b, plan, data, normalization, 3, 4, 1e-5);
  EXPECT_EQ(agreement.images, 4);
  EXPECT_EQ(agreement.differing_predictions, 1);
  EXPECT_DOUBLE_EQ(agreement.largest_difference, 2.0 / 5);
  EXPECT_DOUBLE_EQ(agreement.top1_of_b, 0.75);  // of two equal logits the first counts
  EXPECT_DOUBLE_EQ(agreement.top1_of_b, Evaluate(b, plan, data, normalization, 3)->top1);
  EXPECT_EQ(CompareOnData(a, b, plan, data, normalization, 3, 2, 1e-5)->images, 2);
}

TEST(LatencyTest, AtLeastThreeRunsOfEach) {
  Model a = Identity(), b = Identity();
  const std::vector<Latency> many = MeasureLatencies({&a, &b}, 4, 12, 10);
  ASSERT_EQ(many.size(), 2u);
  for (const Latency& latency : many) {
    EXPECT_EQ(latency.runs, 12);
    EXPECT_GT(latency.first_quartile, 0);
    EXPECT_GE(latency.median, latency.first_quartile);
    EXPECT_GE(latency.third_quartile, latency.median);
  }
  EXPECT_EQ(MeasureLatencies({&a}, 1, 12, 0)[0].runs, 3);
}

}  // namespace
}  // namespace prunelab
