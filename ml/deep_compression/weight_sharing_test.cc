#include "ml/deep_compression/weight_sharing.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <cstdlib>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/deep_compression/reference_values.h"

namespace prunelab {
namespace {

// Normal numbers, each `dead`-th of them zero.
at::Tensor RandomWeights(int64_t count, int64_t dead, uint64_t seed) {
  RandomStream stream(seed, "weights");
  at::Tensor weights = at::zeros({count});
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(stream.Normal());
    if (i % dead != 0) weights.data_ptr<float>()[i] = value;
  }
  return weights;
}

// The weights of tools/reference/deep_compression_values.py.
at::Tensor FormulaWeights(const KMeansValues& wanted) {
  at::Tensor weights = at::zeros({wanted.count});
  for (int64_t i = 0; i < wanted.count; ++i) {
    const int64_t u = (i * wanted.multiplier + 17) % 10007 - 5003;
    const bool dead = wanted.dead != 0 && i % wanted.dead == 0;
    if (!dead) weights.data_ptr<float>()[i] = static_cast<float>(std::ldexp(static_cast<double>(u * std::abs(u)), -26));
  }
  return weights;
}

TEST(ShareWeightsTest, AgreesWithScipy) {
  for (const KMeansValues& wanted : KMeansReference()) {
    const at::Tensor weights = FormulaWeights(wanted);
    const SharedWeights shared = ShareWeights(weights, wanted.clusters);
    const std::string what = absl::StrCat(wanted.count, " weights, ", wanted.clusters, " clusters");
    ASSERT_EQ(shared.codebook.numel(), static_cast<int64_t>(wanted.codebook.size())) << what;
    for (size_t k = 0; k < wanted.codebook.size(); ++k) {
      EXPECT_NEAR(shared.codebook[static_cast<int64_t>(k)].item<float>(), wanted.codebook[k], 1e-7) << what << " " << k;
      EXPECT_EQ((shared.indices == static_cast<int64_t>(k)).sum().item<int64_t>(), wanted.sizes[k]) << what << " " << k;
    }
    EXPECT_TRUE(at::equal(shared.indices < 0, weights == 0)) << what;
  }
}

// By hand: 1, 2, 10, 11 and -4 with two groups begin at -4 and 11, and halfway is 3.5.
TEST(ShareWeightsTest, ByHand) {
  const at::Tensor weight = at::tensor({1.F, 0.F, 10.F, 2.F, 11.F, -4.F}).view({2, 3});
  const SharedWeights shared = ShareWeights(weight, 2);
  EXPECT_TRUE(at::equal(shared.codebook, at::tensor({-1.F / 3, 10.5F})));
  EXPECT_TRUE(at::equal(shared.indices, at::tensor({0, -1, 1, 0, 1, 0}, at::kInt).view({2, 3})));
  EXPECT_TRUE(at::equal(ValuesOf(shared), at::tensor({-1.F / 3, 0.F, 10.5F, -1.F / 3, 10.5F, -1.F / 3}).view({2, 3})));
}

// The paper's reason for even spacing: one weight far away keeps a centre of its own.
TEST(ShareWeightsTest, ALargeWeightKeepsItsCentre) {
  const at::Tensor weights = at::cat({RandomWeights(1000, 7, 1).mul(0.01), at::tensor({1.F})});
  const SharedWeights shared = ShareWeights(weights, 4);
  EXPECT_EQ(ValuesOf(shared)[1000].item<float>(), 1);
}

// Every weight has the nearest centre, and every centre is the mean of its weights.
TEST(ShareWeightsTest, IsAFixedPointOfLloyd) {
  for (const int64_t clusters : {2, 3, 16, 256}) {
    const at::Tensor weights = RandomWeights(20000, 5, static_cast<uint64_t>(clusters));
    const SharedWeights shared = ShareWeights(weights, clusters);
    const at::Tensor live = weights.index({weights != 0}).to(at::kDouble);
    const at::Tensor index = shared.indices.index({weights != 0}).to(at::kLong);
    const at::Tensor codebook = shared.codebook.to(at::kDouble);
    EXPECT_GT(codebook.numel(), clusters / 2) << "normal weights leave few groups empty";
    const at::Tensor distances = (live.unsqueeze(1) - codebook.unsqueeze(0)).abs();
    const at::Tensor own = distances.gather(1, index.unsqueeze(1)).squeeze(1);
    // Centres were rounded to float32 after the last assignment.
    EXPECT_LE((own - std::get<0>(distances.min(1))).max().item<double>(), 1e-6);
    for (int64_t k = 0; k < codebook.numel(); ++k) {
      const at::Tensor members = live.index({index == k});
      ASSERT_GT(members.numel(), 0) << k;
      EXPECT_NEAR(members.mean().item<double>(), codebook[k].item<double>(), 1e-6) << k;
    }
  }
}

TEST(ShareWeightsTest, FewDifferentWeightsStayAsTheyAre) {
  const at::Tensor weights = at::tensor({0.5F, -2.F, 0.F, 0.5F, 1e-38F, -2.F});
  for (const int64_t clusters : {3, 4, 32}) {
    const SharedWeights shared = ShareWeights(weights, clusters);
    EXPECT_TRUE(at::equal(shared.codebook, at::tensor({-2.F, 1e-38F, 0.5F}))) << clusters;
    EXPECT_TRUE(at::equal(ValuesOf(shared), weights)) << clusters;
  }
  const at::Tensor different = RandomWeights(256, 300, 3);
  EXPECT_TRUE(at::equal(ValuesOf(ShareWeights(different, 256)), different));
}

TEST(ShareWeightsTest, SharingAgainChangesNothing) {
  for (const int64_t clusters : {1, 2, 31, 256}) {
    const at::Tensor once = ValuesOf(ShareWeights(RandomWeights(5000, 4, 9), clusters));
    EXPECT_TRUE(at::equal(ValuesOf(ShareWeights(once, clusters)), once)) << clusters;
  }
}

TEST(ShareWeightsTest, NoWeights) {
  for (const at::Tensor& weights : {at::zeros({0, 3}), at::zeros({4, 4}), at::full({3}, -0.F)}) {
    const SharedWeights shared = ShareWeights(weights, 8);
    EXPECT_EQ(shared.codebook.numel(), 0);
    EXPECT_EQ(shared.indices.sizes(), weights.sizes());
    EXPECT_TRUE((shared.indices == -1).all().item<bool>());
    // A zero of either sign becomes +0.0.
    EXPECT_FALSE(at::signbit(ValuesOf(shared)).any().item<bool>());
  }
}

// Groups that cancel out exactly have the centre +0.0; neighbouring float32 values may round to one centre.
TEST(ShareWeightsTest, CentresThatAreZeroOrEqual) {
  const SharedWeights zero = ShareWeights(at::tensor({1.F, -1.F, 2.F, -2.F}), 1);
  EXPECT_EQ(zero.codebook.item<float>(), 0);
  EXPECT_FALSE(at::signbit(ValuesOf(zero)).any().item<bool>());
  std::vector<float> neighbours = {1};
  while (neighbours.size() < 9) neighbours.push_back(std::nextafter(neighbours.back(), 2.F));
  const SharedWeights shared = ShareWeights(at::tensor(neighbours), 8);
  const std::set<float> values(shared.codebook.data_ptr<float>(),
                               shared.codebook.data_ptr<float>() + shared.codebook.numel());
  EXPECT_EQ(static_cast<int64_t>(values.size()), shared.codebook.numel());
  EXPECT_LE((ValuesOf(shared) - at::tensor(neighbours)).abs().max().item<float>(), 2.4e-7F);
}

TEST(ShareWeightsTest, IsTheSameForAnyNumberOfThreads) {
  const at::Tensor weights = RandomWeights(100000, 3, 21);
  const int before = at::get_num_threads();
  at::set_num_threads(1);
  const SharedWeights one = ShareWeights(weights, 64);
  at::set_num_threads(4);
  const SharedWeights four = ShareWeights(weights, 64);
  at::set_num_threads(before);
  EXPECT_TRUE(at::equal(one.codebook, four.codebook));
  EXPECT_TRUE(at::equal(one.indices, four.indices));
}

// Against autograd through an index_select, in float64: exact up to the order of the sums.
TEST(CentroidGradientsTest, IsAutogradsOfAnIndexedCodebook) {
  const at::Tensor weights = RandomWeights(3000, 4, 5).view({30, 4, 5, 5});
  const SharedWeights shared = ShareWeights(weights, 16);
  const int64_t clusters = shared.codebook.numel();
  const at::Tensor codebook = shared.codebook.to(at::kDouble).requires_grad_(true);
  const at::Tensor index = shared.indices.flatten().to(at::kLong);
  // Index -1 is a zero behind the codebook, which has no gradient.
  const at::Tensor values = at::cat({codebook, at::zeros({1}, at::kDouble)})
                                .index_select(0, at::where(index < 0, at::full({}, clusters, at::kLong), index))
                                .view(weights.sizes());
  const at::Tensor factors = RandomWeights(3000, 4000, 6).to(at::kDouble).view(weights.sizes());
  const at::Tensor loss = (values.sin() * factors).sum() + values.pow(3).sum();
  const at::Tensor wanted = torch::autograd::grad({loss}, {codebook})[0];
  const at::Tensor of_weights = values.detach().cos() * factors + 3 * values.detach().square();
  const at::Tensor found = CentroidGradients(of_weights, shared.indices, clusters);
  EXPECT_EQ(found.scalar_type(), at::kDouble);
  EXPECT_LE((found - wanted).abs().max().item<double>(), 1e-12 * wanted.abs().max().item<double>());
  EXPECT_EQ(CentroidGradients(of_weights.to(at::kFloat), shared.indices, clusters).scalar_type(), at::kFloat);
}

TEST(CentroidGradientsTest, ByHand) {
  const at::Tensor gradient = at::tensor({1.F, 2.F, 4.F, 8.F}).view({2, 2});
  const at::Tensor indices = at::tensor({2, -1, 0, 2}, at::kInt).view({2, 2});
  EXPECT_TRUE(at::equal(CentroidGradients(gradient, indices, 3), at::tensor({4.F, 0.F, 9.F})));
}

}  // namespace
}  // namespace prunelab
