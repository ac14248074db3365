// The configs that the project ships load, with every plugin that they name.
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "experiments/config.h"

namespace prunelab {
namespace {

LoadedAblation Load(const std::string& name) {
  absl::StatusOr<LoadedAblation> loaded = LoadAblation(absl::StrCat("experiments/configs/", name, ".textproto"), "");
  EXPECT_TRUE(loaded.ok()) << loaded.status().message();
  if (!loaded.ok()) return {};
  EXPECT_EQ(loaded->ablation.name(), name);
  return *std::move(loaded);
}

const Arm& FindArm(const LoadedAblation& loaded, const std::string& name) {
  const auto arm = std::find_if(loaded.arms.begin(), loaded.arms.end(), [&](const Arm& a) { return a.name == name; });
  EXPECT_TRUE(arm != loaded.arms.end()) << name;
  return *arm;
}

TEST(ConfigsTest, Digits) {
  const LoadedAblation loaded = Load("digits");
  EXPECT_EQ(loaded.arms.size(), 8u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 3);
  const auto dataset = DescribeRunDataset(loaded.arms[0].config);
  ASSERT_TRUE(dataset.ok() && dataset->has_value());
  const auto network = BuildRunNetwork(loaded.arms[0].config, *dataset);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->input_shape().channels, 1);
  EXPECT_EQ(network->input_shape().height, 8);
}

TEST(ConfigsTest, PaperIsThePapers) {
  const LoadedAblation loaded = Load("paper");
  EXPECT_EQ(loaded.arms.size(), 28u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 10);
  const Arm& arm = FindArm(loaded, "dynamic_l1/paper_zero");
  const Training& training = arm.config.training();
  EXPECT_EQ(training.epochs(), 300);
  EXPECT_EQ(training.batch_size(), 256);
  EXPECT_EQ(training.sgd().learning_rate(), 0.2);
  EXPECT_EQ(training.sgd().momentum(), 0.9);
  EXPECT_EQ(training.sgd().weight_decay(), 1e-4);
  EXPECT_EQ(training.random_crop_padding(), 4);
  EXPECT_FALSE(training.horizontal_flip());
  EXPECT_TRUE(training.schedule().has_constant());
  EXPECT_EQ(arm.config.regularization().weight(), 0.7);
  const auto dataset = DescribeRunDataset(arm.config);
  ASSERT_TRUE(dataset.ok()) << dataset.status();
  const auto network = BuildRunNetwork(arm.config, *dataset);
  ASSERT_TRUE(network.ok()) << network.status();
  EXPECT_EQ(network->ParameterCount(), 855770);
  EXPECT_EQ(network->FilterCount(), 2128);
}

TEST(ConfigsTest, PaperSmall) {
  const LoadedAblation loaded = Load("paper_small");
  EXPECT_EQ(loaded.arms.size(), 12u);
  EXPECT_EQ(loaded.ablation.seeds().count(), 10);
  const Arm& arm = FindArm(loaded, "dynamic_l1_scaled/cov");
  const auto dataset = DescribeRunDataset(arm.config);
  ASSERT_TRUE(dataset.ok() && dataset->has_value());
  EXPECT_EQ((*dataset)->train_images, 10000);
  EXPECT_EQ((*dataset)->test_images, 10000);
  EXPECT_EQ((*dataset)->height, 16);
}

}  // namespace
}  // namespace prunelab
