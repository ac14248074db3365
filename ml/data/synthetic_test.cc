#include "ml/data/synthetic.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "ml/base/field_error.h"

namespace prunelab {
namespace {

Synthetic Small() {
  Synthetic parameters;
  parameters.set_classes(4);
  parameters.set_channels(2);
  parameters.set_image_size(8);
  parameters.set_train_images(400);
  parameters.set_test_images(200);
  return parameters;
}

TEST(SyntheticTest, MomentsAfterNormalisation) {
  Synthetic parameters = Small();
  parameters.set_noise(2);
  const Dataset data = *CreateSynthetic().open(parameters);
  const at::Tensor images = data.train.images.to(at::kDouble) / data.normalization.stddev[0];
  EXPECT_NEAR(images.mean().item<double>(), 0, 0.1);
  EXPECT_NEAR(images.std().item<double>(), 1, 0.1);
}

// With the noise off an image is its pattern: tiles of 2x2 pixels, different from class to class.
TEST(SyntheticTest, PatternsAreTiles) {
  Synthetic parameters = Small();
  parameters.set_noise(0);
  const at::Tensor images = CreateSynthetic().open(parameters)->train.images;
  EXPECT_TRUE(at::equal(images[0], images[4]));
  EXPECT_FALSE(at::equal(images[0], images[1]));
  EXPECT_TRUE(at::equal(images, at::upsample_nearest2d(at::avg_pool2d(images, {2, 2}), {8, 8})));
  EXPECT_NE(images[0][0][0][0].item<float>(), images[0][0][0][2].item<float>());
  EXPECT_NE(images[0][0][0][0].item<float>(), images[0][0][2][0].item<float>());
}

TEST(SyntheticTest, NoiseHasItsStandardDeviation) {
  Synthetic parameters = Small();
  parameters.set_noise(0);
  const at::Tensor patterns = CreateSynthetic().open(parameters)->train.images;
  parameters.set_noise(0.5);
  const at::Tensor noise = CreateSynthetic().open(parameters)->train.images - patterns;
  EXPECT_NEAR(noise.std().item<double>(), 0.5, 0.01);
  EXPECT_NEAR(noise.mean().item<double>(), 0, 0.01);
}

// Nearest class mean, learnt from the training data, tells test images apart.
TEST(SyntheticTest, IsLearnable) {
  Synthetic parameters = Small();
  parameters.set_noise(1);
  const Dataset data = *CreateSynthetic().open(parameters);
  const at::Tensor train = data.train.images.flatten(1), test = data.test.images.flatten(1);
  std::vector<at::Tensor> means;
  for (int64_t label = 0; label < 4; ++label) means.push_back(train.index({data.train.labels == label}).mean(0));
  const at::Tensor guesses = at::cdist(test, at::stack(means)).argmin(1);
  EXPECT_GT((guesses == data.test.labels).to(at::kDouble).mean().item<double>(), 0.95);
}

TEST(SyntheticTest, TrainingTestAndSeedsDiffer) {
  Synthetic parameters = Small();
  const Dataset first = *CreateSynthetic().open(parameters);
  EXPECT_FALSE(at::equal(first.train.images.narrow(0, 0, 200), first.test.images));
  parameters.set_seed(2);
  EXPECT_NE(CreateSynthetic().open(parameters)->fingerprint, first.fingerprint);
}

TEST(SyntheticTest, MoreImagesKeepTheFirst) {
  Synthetic parameters = Small();
  const Dataset few = *CreateSynthetic().open(parameters);
  parameters.set_train_images(450);
  const Dataset more = *CreateSynthetic().open(parameters);
  EXPECT_TRUE(at::equal(more.train.images.narrow(0, 0, 400), few.train.images));
}

TEST(SyntheticTest, RefusesBadParameters) {
  const struct {
    const char* field;
    std::function<void(Synthetic&)> spoil;
  } cases[] = {
      {"classes", [](Synthetic& p) { p.set_classes(1); }},
      {"channels", [](Synthetic& p) { p.set_channels(0); }},
      {"image_size", [](Synthetic& p) { p.set_image_size(0); }},
      {"image_size", [](Synthetic& p) { p.set_image_size(4096), p.set_channels(1024); }},
      {"train_images", [](Synthetic& p) { p.set_train_images(3); }},
      {"train_images", [](Synthetic& p) { p.set_train_images(int64_t{1} << 40); }},
      {"test_images", [](Synthetic& p) { p.set_test_images(0); }},
      {"noise", [](Synthetic& p) { p.set_noise(-1); }},
      {"noise", [](Synthetic& p) { p.set_noise(std::nan("")); }},
      {"noise", [](Synthetic& p) { p.set_noise(std::numeric_limits<double>::infinity()); }},
  };
  for (const auto& bad : cases) {
    Synthetic parameters = Small();
    bad.spoil(parameters);
    EXPECT_EQ(ErrorField(CreateSynthetic().open(parameters).status()), bad.field) << parameters.DebugString();
    EXPECT_EQ(ErrorField(CreateSynthetic().describe(parameters).status()), bad.field) << parameters.DebugString();
  }
}

}  // namespace
}  // namespace prunelab
