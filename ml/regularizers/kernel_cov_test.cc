#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ml/regularizers/kernel_cov.pb.h"
#include "ml/regularizers/regularizer.h"
#include "ml/regularizers/testing/expect_reference.h"

namespace prunelab {
namespace {

std::unique_ptr<Regularizer> Make(KernelCov::Scale scale, const NetworkInfo& network) {
  KernelCov parameters;
  parameters.set_scale(scale);
  return *CreateRegularizer(parameters, network);
}

TEST(KernelCovTest, ByHand) {
  // Four slices of 2 x 2, two filters with two inputs. Rows less their means r_1, r_2; kw - 1 = 1:
  //   [[1, 3], [2, 6]]: (-1, 1), (-2, 2): cov 2, 4, 8: 14. Gradient rows 2 r_1 + r_2 = (-4, 4), r_1 + 2 r_2 = (-5, 5).
  //   [[1, 3], [6, 2]]: (-1, 1), (2, -2): cov 2, -4, 8: 14. Rows 2 r_1 - r_2 = (-4, 4), -r_1 + 2 r_2 = (5, -5).
  //   [[1, 3], [4, 4]]: (-1, 1), (0, 0): cov 2, 0, 0: 2. Rows 2 r_1 = (-2, 2), and 0 since sign(0) = 0.
  //   [[0, 0], [1, 1]]: 0, no gradient.
  const at::Tensor weight =
      at::tensor({1.0, 3.0, 2.0, 6.0, 1.0, 3.0, 6.0, 2.0, 1.0, 3.0, 4.0, 4.0, 0.0, 0.0, 1.0, 1.0}, at::kDouble)
          .view({2, 2, 2, 2});
  const at::Tensor gradient =
      at::tensor({-4.0, 4.0, -5.0, 5.0, -4.0, 4.0, 5.0, -5.0, -2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0}, at::kDouble)
          .view({2, 2, 2, 2});
  const std::vector<RegularizedLayer> layers = {ConvLayer("a", weight)};
  for (const auto& [scale, slices] : {std::pair(KernelCov::SUM, 1.0), std::pair(KernelCov::MEAN, 4.0)}) {
    const std::unique_ptr<Regularizer> kernel_cov = Make(scale, FormulaNetwork());
    EXPECT_EQ(kernel_cov->Value(layers).item<double>(), 30 / slices);
    const Penalty penalty = kernel_cov->ValueAndGradients(layers);
    EXPECT_EQ(penalty.value.item<double>(), 30 / slices);
    EXPECT_TRUE(at::equal(penalty.gradients[0], gradient / slices));
  }
}

TEST(KernelCovTest, MeanIsOverSlicesOfLiveFilters) {
  const std::vector<RegularizedLayer> layers = FormulaLayers(at::kDouble, true);
  // Live: 3 filters of 2 inputs, 4 of 4, 4 of 5.
  const double sum = Make(KernelCov::SUM, FormulaNetwork())->Value(layers).item<double>();
  EXPECT_NEAR(Make(KernelCov::MEAN, FormulaNetwork())->Value(layers).item<double>(), sum / (6 + 16 + 20), 1e-15);
}

TEST(KernelCovTest, ValuesOfNumpyAndPyTorch) {
  ExpectReference(*Make(KernelCov::SUM, FormulaNetwork()), reference::kKernelCovSum, false);
  ExpectReference(*Make(KernelCov::SUM, FormulaNetwork()), reference::kKernelCovSumMasked, true);
  ExpectReference(*Make(KernelCov::MEAN, FormulaNetwork()), reference::kKernelCovMean, false);
  ExpectReference(*Make(KernelCov::MEAN, FormulaNetwork()), reference::kKernelCovMeanMasked, true);
}

TEST(KernelCovTest, ClosedFormIsAutograd) {
  for (const KernelCov::Scale scale : {KernelCov::SUM, KernelCov::MEAN}) {
    ExpectClosedFormIsAutograd(*Make(scale, FormulaNetwork()), *Make(scale, ResNet56()));
  }
}

TEST(KernelCovTest, FreshResNet56) {
  // About 1,972 whatever the seed: hence the scale MEAN.
  const double value =
      Make(KernelCov::SUM, ResNet56())->ValueAndGradients(ResNet56Layers(at::kFloat)).value.item<double>();
  EXPECT_GT(value, 1900);
  EXPECT_LT(value, 2050);
}

}  // namespace
}  // namespace prunelab
