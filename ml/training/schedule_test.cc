#include "ml/training/schedule.h"

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/training/schedule_values.h"

namespace prunelab {
namespace {

Training Parse(const char* text) {
  Training training;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &training)) << text;
  return training;
}

TEST(ScheduleTest, EqualsPyTorchsSchedulers) {
  ASSERT_EQ(ScheduleReference().size(), 8u);
  for (const ScheduleValues& reference : ScheduleReference()) {
    const Training training = Parse(reference.training);
    ASSERT_EQ(reference.rates.size(), static_cast<size_t>(training.epochs() * kScheduleIterations));
    for (size_t step = 0; step < reference.rates.size(); ++step) {
      const double rate =
          LearningRate(training, step / kScheduleIterations, step % kScheduleIterations, kScheduleIterations);
      // PyTorch multiplies from step to step, so its rounding differs.
      EXPECT_NEAR(rate, reference.rates[step], 1e-14) << reference.name << ", step " << step;
    }
  }
}

TEST(ScheduleTest, ConstantIsExact) {
  const Training training = Parse("epochs: 300 sgd { learning_rate: 0.2 }");
  EXPECT_EQ(LearningRate(training, 0, 0, 196), 0.2);
  EXPECT_EQ(LearningRate(training, 299, 195, 196), 0.2);
}

TEST(ScheduleTest, WarmUpEndsAtTheFullRate) {
  const Training training = Parse("epochs: 3 sgd { learning_rate: 0.3 } schedule { warmup_epochs: 1 }");
  EXPECT_DOUBLE_EQ(LearningRate(training, 0, 0, 4), 0.075);
  EXPECT_DOUBLE_EQ(LearningRate(training, 0, 2, 4), 0.225);
  EXPECT_EQ(LearningRate(training, 0, 3, 4), 0.3);
  EXPECT_EQ(LearningRate(training, 1, 0, 4), 0.3);
}

// The rate is that of whichever optimizer is chosen.
TEST(ScheduleTest, StartsFromTheOptimizersRate) {
  Training training;
  training.set_epochs(3);
  EXPECT_EQ(LearningRate(training, 0, 0, 1), 0.1);
  training.mutable_adamw();
  EXPECT_EQ(LearningRate(training, 0, 0, 1), 1e-3);
  SetBaseLearningRate(0.5, training);
  EXPECT_EQ(training.adamw().learning_rate(), 0.5);
  EXPECT_EQ(LearningRate(training, 0, 0, 1), 0.5);
  training.mutable_sgd();
  SetBaseLearningRate(0.25, training);
  EXPECT_FALSE(training.has_adamw());
  EXPECT_EQ(BaseLearningRate(training), 0.25);
}

}  // namespace
}  // namespace prunelab
