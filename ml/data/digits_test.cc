#include "ml/data/digits.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

using ::testing::ElementsAre;

std::vector<int64_t> Values(const at::Tensor& tensor) {
  const at::Tensor values = tensor.to(at::kLong).contiguous();
  return {values.const_data_ptr<int64_t>(), values.const_data_ptr<int64_t>() + values.numel()};
}

TEST(DigitsTest, StratifiedSplit) {
  const Dataset digits = *CreateDigits().open(Digits());
  EXPECT_THAT(Values(at::bincount(digits.train.labels)), ElementsAre(142, 146, 142, 146, 145, 146, 145, 143, 139, 144));
  EXPECT_THAT(Values(at::bincount(digits.test.labels)), ElementsAre(36, 36, 35, 37, 36, 36, 36, 36, 35, 36));
}

// The values of tools/reference/data_digits.py, which reads the file itself and has its own random streams.
TEST(DigitsTest, EqualsTheReference) {
  const Dataset digits = *CreateDigits().open(Digits());
  EXPECT_THAT(Values(digits.train.labels.narrow(0, 0, 10)), ElementsAre(0, 2, 3, 4, 5, 6, 8, 9, 0, 2));
  EXPECT_THAT(Values(digits.test.labels.narrow(0, 0, 10)), ElementsAre(1, 7, 1, 7, 9, 2, 5, 5, 5, 5));
  EXPECT_EQ(digits.train.images.sum().item<int64_t>(), 449492);
  EXPECT_EQ(digits.test.images.sum().item<int64_t>(), 112226);
  EXPECT_EQ(digits.fingerprint, "0386aa5ba90e86335157adfd10ce9c24e38417773c5e524107c5601df346471e");
}

// The first record of the file, as printed in scikit-learn's documentation of load_digits.
TEST(DigitsTest, FirstZero) {
  const Dataset digits = *CreateDigits().open(Digits());
  EXPECT_THAT(Values(digits.train.images[0][0].narrow(0, 0, 2)),
              ElementsAre(0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0));
}

TEST(DigitsTest, NormalisationIsOfTheTrainingPixels) {
  const Dataset digits = *CreateDigits().open(Digits());
  EXPECT_EQ(digits.train.images.max().item<int64_t>(), 16);
  EXPECT_EQ(digits.normalization.scale, 1.0 / 16);
  const at::Tensor pixels = digits.train.images.to(at::kDouble) / 16;
  EXPECT_NEAR(digits.normalization.mean[0], pixels.mean().item<double>(), 1e-12);
  EXPECT_NEAR(digits.normalization.stddev[0], pixels.std(/*unbiased=*/false).item<double>(), 1e-12);
}

}  // namespace
}  // namespace prunelab
