#include "ml/models/vgg.h"

#include <gtest/gtest.h>

#include <string>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const Vgg& parameters, const ImageDefaults& defaults = {}) {
  return BuiltNetwork(CreateVgg(parameters, defaults));
}

Vgg Depth(int depth) {
  Vgg parameters;
  parameters.set_depth(depth);
  return parameters;
}

TEST(VggTest, SizesOfTheLiterature) {
  const NetworkInfo vgg16 = Build(Depth(16));
  EXPECT_EQ(vgg16.ParameterCount(), 14724042);
  EXPECT_EQ(vgg16.convs().size(), 13u);
  // Li et al. (ICLR 2017), table 2, count 3.13e8 multiply-accumulates for VGG-16 on CIFAR-10.
  EXPECT_NEAR(static_cast<double>(vgg16.MacCount()), 3.13e8, 0.005e8);
  // Network slimming (Liu et al., ICCV 2017), table 1: 20.04 million parameters in VGG-19 for 10 classes.
  EXPECT_EQ(Build(Depth(19)).convs().size(), 16u);
  EXPECT_NEAR(static_cast<double>(Build(Depth(19)).ParameterCount()), 20.04e6, 0.005e6);
  EXPECT_EQ(Build(Depth(11)).convs().size(), 8u);
  EXPECT_EQ(Build(Depth(13)).convs().size(), 10u);
  Vgg biased = Depth(16);
  biased.set_conv_bias(true);
  EXPECT_EQ(Build(biased).ParameterCount(), 14728266);
}

TEST(VggTest, PoolingHalvesFourOrFiveTimes) {
  const NetworkInfo info = Build(Depth(16));
  EXPECT_EQ(info.Index("features.43"), -1);  // the last ReLU is features.42
  EXPECT_EQ(info.shape("features.42").height, 2);
  EXPECT_EQ(info.shape("features.42").channels, 512);
  EXPECT_EQ(info.shape("avgpool").height, 1);
  EXPECT_EQ(info.classes(), 10);
  Vgg pooled = Depth(16);
  pooled.set_last_max_pool(true);
  EXPECT_EQ(Build(pooled).shape("features.43").height, 1);
}

TEST(VggTest, UnsetSizesComeFromTheDataSet) {
  ImageDefaults data;
  data.classes = 100;
  data.channels = 1;
  data.height = data.width = 16;
  const NetworkInfo info = Build(Depth(11), data);
  EXPECT_EQ(info.classes(), 100);
  EXPECT_EQ(info.input_shape().channels, 1);
  EXPECT_EQ(info.shape("avgpool").channels, 512);
  Vgg narrow = Depth(11);
  narrow.set_width(4);
  EXPECT_EQ(Build(narrow, data).shape("avgpool").channels, 32);
}

TEST(VggTest, RefusesBadParameters) {
  for (const int depth : {0, 8, 17, 20, -16}) {
    const absl::Status status = CreateVgg(Depth(depth), {}).status();
    EXPECT_EQ(ErrorField(status), "depth") << depth;
    EXPECT_NE(status.message().find("11, 13, 16 or 19"), std::string::npos);
  }
  Vgg parameters;
  parameters.set_image_size(15);
  EXPECT_EQ(ErrorField(CreateVgg(parameters, {}).status()), "image_size");
  parameters.set_image_size(16);
  EXPECT_TRUE(CreateVgg(parameters, {}).ok());
  parameters.set_last_max_pool(true);
  EXPECT_EQ(ErrorField(CreateVgg(parameters, {}).status()), "image_size");
  parameters = Vgg();
  parameters.set_classes(0);
  EXPECT_EQ(ErrorField(CreateVgg(parameters, {}).status()), "classes");
  parameters = Vgg();
  parameters.set_width(0);
  EXPECT_EQ(ErrorField(CreateVgg(parameters, {}).status()), "width");
}

}  // namespace
}  // namespace prunelab
