#include "ml/training/training_config.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"
#include "ml/network/network.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

Training Parse(const std::string& text) {
  Training training;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &training)) << text;
  return training;
}

TEST(TrainingConfigTest, GoodOnes) {
  for (const char* text : {
           "epochs: 1",
           "epochs: 300 batch_size: 256 sgd { learning_rate: 0.2 momentum: 0.9 weight_decay: 1e-4 } "
           "random_crop_padding: 4",
           "epochs: 5 sgd { momentum: 0.9 nesterov: true } schedule { cosine {} warmup_epochs: 5 }",
           "epochs: 5 schedule { step { period: 1 gamma: 2 } }",
           "epochs: 5 schedule { multi_step { milestone: [1, 2, 70] } }",
           "epochs: 5 sgd { momentum: 0.9 dampening: 1 } checkpoint_every: 0",
           "epochs: 1 random_resized_crop {} color_jitter { brightness: 0.4 hue: 0.5 } horizontal_flip: true",
           "epochs: 1 random_resized_crop { least_area: 1 least_ratio: 1 most_ratio: 1 }",
           "epochs: 5 adamw {}",
           "epochs: 5 label_smoothing: 0.1 clip_gradient_norm: 5",
           "epochs: 5 weight_average {}",
           "epochs: 5 accumulate_batches: 4",
           "epochs: 5 weight_average { decay: 0 }",
           "epochs: 5 teacher { checkpoint: 'x' }",
           "epochs: 5 teacher { checkpoint: 'x' temperature: 1 weight: 1 }",
           "epochs: 5 adamw { learning_rate: 1 beta1: 0 beta2: 0 epsilon: 1e-30 weight_decay: 0 }",
       }) {
    const absl::Status status = ValidateTraining(Parse(text));
    EXPECT_TRUE(status.ok()) << text << ": " << status;
  }
}

TEST(TrainingConfigTest, BadOnesNameTheFieldTheValueAndTheRange) {
  struct Case {
    std::string text, field, message;
  };
  const std::vector<Case> cases = {
      {"", "epochs", "is not set; say how many passes over the training data to make, e.g. epochs: 20"},
      {"epochs: 0", "epochs", "is 0; must be at least 1"},
      {"epochs: 1 batch_size: 0", "batch_size", "is 0; must be at least 1"},
      {"epochs: 1 batch_size: -3", "batch_size", "is -3; must be at least 1"},
      {"epochs: 1 evaluate_every: 0", "evaluate_every", "is 0; must be at least 1"},
      {"epochs: 1 evaluation_batch_size: 0", "evaluation_batch_size", "is 0; must be at least 1"},
      {"epochs: 1 sgd { learning_rate: 0 }", "sgd.learning_rate", "is 0; must be a finite number above 0"},
      {"epochs: 1 sgd { learning_rate: nan }", "sgd.learning_rate", "is nan; must be a finite number above 0"},
      {"epochs: 1 sgd { learning_rate: inf }", "sgd.learning_rate", "is inf; must be a finite number above 0"},
      {"epochs: 1 sgd { momentum: 1 }", "sgd.momentum", "is 1; must be in [0, 1)"},
      {"epochs: 1 sgd { momentum: nan }", "sgd.momentum", "is nan; must be in [0, 1)"},
      {"epochs: 1 sgd { dampening: 1.5 }", "sgd.dampening", "is 1.5; must be in [0, 1]"},
      {"epochs: 1 sgd { weight_decay: -1 }", "sgd.weight_decay", "is -1; must be a finite number, at least 0"},
      {"epochs: 1 sgd { nesterov: true }", "sgd.nesterov",
       "is true, but momentum is 0; give a momentum such as 0.9, or leave nesterov out"},
      {"epochs: 1 sgd { nesterov: true momentum: 0.9 dampening: 0.5 }", "sgd.nesterov",
       "is true, but dampening is 0.5; Nesterov's momentum needs dampening 0"},
      {"epochs: 1 random_resized_crop { least_area: 0 }", "random_resized_crop.least_area",
       "is 0; must be a finite number above 0"},
      {"epochs: 1 random_resized_crop { most_area: 1.5 }", "random_resized_crop.most_area",
       "is 1.5; must be from least_area, which is 0.08, to 1"},
      {"epochs: 1 random_resized_crop { least_area: 0.5 most_area: 0.25 }", "random_resized_crop.most_area",
       "is 0.25; must be from least_area, which is 0.5, to 1"},
      {"epochs: 1 random_resized_crop { least_ratio: -1 }", "random_resized_crop.least_ratio",
       "is -1; must be a finite number above 0"},
      {"epochs: 1 random_resized_crop { most_ratio: 0.5 }", "random_resized_crop.most_ratio",
       "is 0.5; must be at least least_ratio, which is 0.75"},
      {"epochs: 1 random_resized_crop {} random_crop_padding: 4", "random_resized_crop",
       "is set, and random_crop_padding is 4; an image is cropped one way or the other, so leave one of them out"},
      {"epochs: 1 color_jitter { contrast: -1 }", "color_jitter.contrast", "is -1; must be from 0 to 100"},
      {"epochs: 1 color_jitter { hue: 0.6 }", "color_jitter.hue", "is 0.6; must be from 0 to 0.5, half the circle"},
      {"epochs: 1 adamw { learning_rate: 0 }", "adamw.learning_rate", "is 0; must be a finite number above 0"},
      {"epochs: 1 adamw { beta1: 1 }", "adamw.beta1", "is 1; must be in [0, 1)"},
      {"epochs: 1 adamw { beta2: -0.1 }", "adamw.beta2", "is -0.1; must be in [0, 1)"},
      {"epochs: 1 adamw { beta2: nan }", "adamw.beta2", "is nan; must be in [0, 1)"},
      {"epochs: 1 adamw { epsilon: 0 }", "adamw.epsilon", "is 0; must be a finite number, at least 1e-30"},
      {"epochs: 1 adamw { weight_decay: -1 }", "adamw.weight_decay", "is -1; must be a finite number, at least 0"},
      {"epochs: 1 label_smoothing: 1", "label_smoothing", "is 1; must be in [0, 1)"},
      {"epochs: 1 label_smoothing: -0.1", "label_smoothing", "is -0.1; must be in [0, 1)"},
      {"epochs: 1 label_smoothing: nan", "label_smoothing", "is nan; must be in [0, 1)"},
      {"epochs: 1 clip_gradient_norm: -1", "clip_gradient_norm", "is -1; must be a finite number, at least 0"},
      {"epochs: 1 clip_gradient_norm: inf", "clip_gradient_norm", "is inf; must be a finite number, at least 0"},
      {"epochs: 1 weight_average { decay: 1 }", "weight_average.decay", "is 1; must be in [0, 1)"},
      {"epochs: 1 weight_average { decay: -0.5 }", "weight_average.decay", "is -0.5; must be in [0, 1)"},
      {"epochs: 1 weight_average {} quantization {}", "quantization",
       "does not go with weight_average: the rounding is learnt for the weights of the steps, not for their average"},
      {"epochs: 1 accumulate_batches: 0", "accumulate_batches", "is 0; must be at least 1"},
      {"epochs: 1 teacher {}", "teacher.checkpoint",
       "is not set; name the teacher's file, e.g. checkpoint: \"last.safetensors\""},
      {"epochs: 1 teacher { checkpoint: 'x' temperature: 0 }", "teacher.temperature",
       "is 0; must be a finite number above 0"},
      {"epochs: 1 teacher { checkpoint: 'x' weight: 1.5 }", "teacher.weight", "is 1.5; must be in [0, 1]"},
      {"epochs: 1 teacher { checkpoint: 'x' weight: nan }", "teacher.weight", "is nan; must be in [0, 1]"},
      {"epochs: 1 test_data: false", "test_data",
       "is false, and no images are set aside for validation, so that nothing would be evaluated; give a "
       "validation_fraction, e.g. 0.1"},
      {"epochs: 1 validation_fraction: 1", "validation_fraction", "is 1; must be in [0, 1)"},
      {"epochs: 1 schedule { step { period: 0 } }", "schedule.step.period", "is 0; must be at least 1"},
      {"epochs: 1 schedule { step { gamma: 0 } }", "schedule.step.gamma", "is 0; must be a finite number above 0"},
      {"epochs: 1 schedule { multi_step {} }", "schedule.multi_step",
       "has no milestone; name the epochs at which the rate falls, e.g. milestone: [100, 150]"},
      {"epochs: 1 schedule { multi_step { milestone: [3, 5, 5] } }", "schedule.multi_step.milestone[2]",
       "is 5; milestones must increase, from 1 on"},
      {"epochs: 1 schedule { multi_step { milestone: 0 } }", "schedule.multi_step.milestone[0]",
       "is 0; milestones must increase, from 1 on"},
      {"epochs: 1 schedule { multi_step { milestone: 1 gamma: nan } }", "schedule.multi_step.gamma",
       "is nan; must be a finite number above 0"},
      {"epochs: 1 schedule { cosine { final_learning_rate: -1 } }", "schedule.cosine.final_learning_rate",
       "is -1; must be a finite number, at least 0"},
      {"epochs: 3 schedule { warmup_epochs: 4 }", "schedule.warmup_epochs", "is 4; must be from 0 to epochs (3)"},
      {"epochs: 3 schedule { warmup_epochs: -1 }", "schedule.warmup_epochs", "is -1; must be from 0 to epochs (3)"},
      {"epochs: 1 random_crop_padding: -1", "random_crop_padding", "is -1; must be at least 0"},
      {"epochs: 1 bn_recalibration_batches: -1", "bn_recalibration_batches", "is -1; must be at least 0"},
      {"epochs: 1 checkpoint_every: -1", "checkpoint_every", "is -1; must be at least 0"},
  };
  for (const Case& c : cases) {
    const absl::Status status = ValidateTraining(Parse(c.text));
    EXPECT_FALSE(status.ok()) << c.text;
    EXPECT_EQ(ErrorField(status), c.field) << c.text;
    EXPECT_EQ(ErrorText(status), c.message) << c.text;
  }
}

// A batch norm after a convolution of images of `size` x `size` pixels, with maps of the same size, and one with maps
// of a single pixel.
NetworkInfo WithBatchNorms(bool one_pixel) {
  NetworkWriter net;
  std::string x = net.BatchNorm("bn1", net.Image(1, 2, one_pixel ? 2 : 1));
  if (one_pixel) x = net.BatchNorm("layer.bn2", net.Conv("conv", x, {2, 2}));
  net.Linear("fc", net.Flatten("flat", x), 3);
  return *NetworkInfo::Create(net.Take());
}

TEST(TrainingConfigTest, ALastBatchOfOneImageNeedsMapsOfMorePixels) {
  const NetworkInfo one_pixel = WithBatchNorms(true), two_pixels = WithBatchNorms(false);
  struct Case {
    int64_t images, batch_size;
    const char* remedy;  // "" where nothing is wrong
  };
  for (const Case& c : std::vector<Case>{
           {65, 16, "use a batch_size of 15 or 17, or larger images"},
           {65, 64, "use a batch_size of 63 or 65, or larger images"},
           {65, 2, "use a batch_size of 3, or larger images"},
           {65, 1, "use a batch_size of 3, or larger images"},
           {4, 3, "use a batch_size of 2 or 4, or larger images"},
           {3, 1, "use a batch_size of 3, or larger images"},
           {1, 1, "use more training images, or larger images"},
           {1, 16, "use more training images, or larger images"},
           {65, 65, ""},
           {65, 66, ""},
           {65, 17, ""},
           {65, 15, ""},
           {64, 16, ""},
           {2, 2, ""},
       }) {
    Training training;
    training.set_batch_size(c.batch_size);
    const absl::Status status = CheckLastBatch(training, one_pixel, c.images);
    EXPECT_EQ(status.ok(), *c.remedy == '\0') << c.batch_size << " of " << c.images << ": " << status;
    EXPECT_TRUE(CheckLastBatch(training, two_pixels, c.images).ok());
    if (status.ok()) continue;
    EXPECT_EQ(ErrorField(status), "batch_size");
    EXPECT_EQ(ErrorText(status),
              "is " + std::to_string(c.batch_size) + ", which leaves a single one of " + std::to_string(c.images) +
                  (c.images == 1 ? " training image" : " training images") +
                  " for an epoch's last batch; the batch norm \"layer.bn2\" has maps of 1x1 pixel and needs more than "
                  "one value a channel; " +
                  c.remedy);
  }
}

TEST(TrainingConfigTest, ABatchIsNoLargerThanWhatIsTrainedOn) {
  Training training;
  training.set_batch_size(9);
  EXPECT_TRUE(CheckBatchSize(training, 9).ok());
  absl::Status status = CheckBatchSize(training, 8);
  EXPECT_EQ(ErrorField(status), "batch_size");
  EXPECT_EQ(ErrorText(status), "is 9, but the data set has 8 training images; must be at most as many");
  training.set_validation_fraction(0.1);
  status = CheckBatchSize(training, 8);
  EXPECT_EQ(ErrorText(status),
            "is 9, but the data set has 8 training images beside the validation data; must be at most as many");
}

TEST(TrainingConfigTest, PenaltyWeights) {
  Regularization regularization;
  EXPECT_TRUE(ValidateRegularization(regularization).ok());
  regularization.set_weight(0);
  EXPECT_TRUE(ValidateRegularization(regularization).ok());
  for (const auto& [weight, text] :
       {std::pair<double, const char*>{-0.5, "-0.5"}, {std::nan(""), "nan"}, {HUGE_VAL, "inf"}}) {
    regularization.set_weight(weight);
    const absl::Status status = ValidateRegularization(regularization);
    EXPECT_EQ(ErrorField(status), "weight");
    EXPECT_EQ(ErrorText(status), std::string("is ") + text + "; must be a finite number, at least 0");
  }
}

}  // namespace
}  // namespace prunelab
