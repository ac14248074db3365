#include "ml/data/validation_split.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace prunelab {
namespace {

// 20 images of class 0, 10 of class 1 and 3 of class 2, told apart by their only pixel.
LabelledImages Data() {
  const at::Tensor labels = (at::arange(33) >= 20).to(at::kLong) + (at::arange(33) >= 30).to(at::kLong);
  return {at::arange(33).to(at::kByte).view({33, 1, 1, 1}), labels};
}

std::vector<int64_t> Pixels(const LabelledImages& images) {
  const at::Tensor pixels = images.images.flatten().to(at::kLong);
  return {pixels.const_data_ptr<int64_t>(), pixels.const_data_ptr<int64_t>() + pixels.numel()};
}

TEST(ValidationSplitTest, TakesTheFractionOfEachClass) {
  const ValidationSplit split = SplitOffValidation(Data(), 3, 0.25, 1);
  EXPECT_EQ(split.validation.size(), 5 + 2 + 0);
  EXPECT_EQ(split.train.size(), 15 + 8 + 3);
  EXPECT_EQ((split.validation.labels == 0).sum().item<int64_t>(), 5);
  EXPECT_EQ((split.validation.labels == 1).sum().item<int64_t>(), 2);
  std::vector<int64_t> all = Pixels(split.train);
  const std::vector<int64_t> held_out = Pixels(split.validation);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_TRUE(std::is_sorted(held_out.begin(), held_out.end()));
  all.insert(all.end(), held_out.begin(), held_out.end());
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 33; ++i) EXPECT_EQ(all[i], i);  // each once
  // Labels went with their images.
  for (int64_t i = 0; i < split.validation.size(); ++i) {
    EXPECT_EQ(split.validation.labels[i].item<int64_t>(), held_out[i] < 20 ? 0 : 1);
  }
}

TEST(ValidationSplitTest, IsDrawnByTheSeed) {
  EXPECT_EQ(Pixels(SplitOffValidation(Data(), 3, 0.4, 1).validation),
            Pixels(SplitOffValidation(Data(), 3, 0.4, 1).validation));
  EXPECT_NE(Pixels(SplitOffValidation(Data(), 3, 0.4, 1).validation),
            Pixels(SplitOffValidation(Data(), 3, 0.4, 2).validation));
}

}  // namespace
}  // namespace prunelab
