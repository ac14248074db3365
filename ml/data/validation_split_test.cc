#include "ml/data/validation_split.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "ml/base/field_error.h"

namespace prunelab {
namespace {

// 20 images of class 0, 10 of class 1 and 3 of class 2, which their only pixel identifies.
LabelledImages Data() {
  const at::Tensor labels = (at::arange(33) >= 20).to(at::kLong) + (at::arange(33) >= 30).to(at::kLong);
  return {at::arange(33).to(at::kByte).view({33, 1, 1, 1}), labels};
}

std::vector<int64_t> Pixels(const LabelledImages& images) {
  const at::Tensor pixels = images.images.flatten().to(at::kLong);
  return {pixels.const_data_ptr<int64_t>(), pixels.const_data_ptr<int64_t>() + pixels.numel()};
}

ValidationSplit Split(double fraction, uint64_t seed) {
  absl::StatusOr<ValidationSplit> split = SplitOffValidation(Data(), 3, fraction, seed);
  EXPECT_TRUE(split.ok()) << split.status();
  return split.ok() ? *std::move(split) : ValidationSplit();
}

TEST(ValidationSplitTest, TakesTheFractionOfEachClass) {
  const ValidationSplit split = Split(0.25, 1);
  EXPECT_EQ(split.validation.size(), 5 + 2 + 1);  // a quarter of 3 is none, but one is set aside
  EXPECT_EQ(split.train.size(), 15 + 8 + 2);
  EXPECT_EQ((split.validation.labels == 0).sum().item<int64_t>(), 5);
  EXPECT_EQ((split.validation.labels == 1).sum().item<int64_t>(), 2);
  EXPECT_EQ((split.validation.labels == 2).sum().item<int64_t>(), 1);
  EXPECT_EQ(*CountValidation(Data(), 3, 0.25), 8);
  std::vector<int64_t> all = Pixels(split.train);
  const std::vector<int64_t> held_out = Pixels(split.validation);
  EXPECT_TRUE(std::is_sorted(all.begin(), all.end()));
  EXPECT_TRUE(std::is_sorted(held_out.begin(), held_out.end()));
  all.insert(all.end(), held_out.begin(), held_out.end());
  std::sort(all.begin(), all.end());
  for (int64_t i = 0; i < 33; ++i) EXPECT_EQ(all[i], i);  // each exactly once
  // Labels stay with their images.
  for (int64_t i = 0; i < split.validation.size(); ++i) {
    EXPECT_EQ(split.validation.labels[i].item<int64_t>(), held_out[i] < 20 ? 0 : held_out[i] < 30 ? 1 : 2);
  }
}

TEST(ValidationSplitTest, IsDrawnByTheSeed) {
  EXPECT_EQ(Pixels(Split(0.4, 1).validation), Pixels(Split(0.4, 1).validation));
  EXPECT_NE(Pixels(Split(0.4, 1).validation), Pixels(Split(0.4, 2).validation));
}

TEST(ValidationSplitTest, NothingIsSetAsideAtFractionZero) {
  EXPECT_EQ(Split(0, 1).validation.size(), 0);
  EXPECT_EQ(Split(0, 1).train.size(), 33);
  EXPECT_EQ(*CountValidation(Data(), 3, 0), 0);
}

TEST(ValidationSplitTest, AClassMustKeepAnImageToTrainOn) {
  LabelledImages data = Data();
  data.labels[32].fill_(4);  // class 2 has two images left, class 3 none, class 4 one
  const absl::Status status = SplitOffValidation(data, 5, 0.1, 1).status();
  EXPECT_EQ(ErrorField(status), "validation_fraction");
  EXPECT_EQ(ErrorText(status),
            "is 0.1, which sets 1 of class 4's 1 training image aside and leaves none to train on; leave it out, or "
            "have more images of that class");
  EXPECT_EQ(CountValidation(data, 5, 0.1).status(), status);
  EXPECT_EQ(*CountValidation(Data(), 3, 0.99), 19 + 9 + 2);
  EXPECT_EQ(*CountValidation(Data(), 7, 0.1), 2 + 1 + 1);  // classes without images stay empty
}

}  // namespace
}  // namespace prunelab
