#include "ml/models/resnet_imagenet.h"

#include <gtest/gtest.h>

#include <string>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const ResNetImageNet& parameters, const ImageDefaults& defaults = {}) {
  return BuiltNetwork(CreateResNetImageNet(parameters, defaults));
}

ResNetImageNet Depth(int depth) {
  ResNetImageNet parameters;
  parameters.set_depth(depth);
  return parameters;
}

// The multiply-accumulates that torchvision's documentation gives (GFLOPS: 1.81, 3.66, 4.09, 7.80, 11.51).
TEST(ResNetImageNetTest, MacsAsPublished) {
  for (const auto& [depth, billions] :
       {std::pair<int, double>{18, 1.81}, {34, 3.66}, {50, 4.09}, {101, 7.80}, {152, 11.51}}) {
    const NetworkInfo info = Build(Depth(depth));
    EXPECT_NEAR(static_cast<double>(info.MacCount()) / 1e9, billions, 0.006) << depth;
    EXPECT_EQ(info.classes(), 1000);
    EXPECT_EQ(info.input_shape().height, 224);
    EXPECT_EQ(info.shape("layer4.0.add").height, 7);
  }
}

// 3x3 stem, no pooling: 32 pixels reach the first stage whole. The parameters are 11,173,962, as is often reported.
TEST(ResNetImageNetTest, CifarStem) {
  ResNetImageNet parameters = Depth(18);
  parameters.set_stem(ResNetImageNet::CIFAR);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.ParameterCount(), 11173962);
  EXPECT_EQ(info.classes(), 10);
  EXPECT_EQ(info.shape("layer1.0.add").height, 32);
  EXPECT_EQ(info.shape("layer4.1.add").height, 4);
  EXPECT_EQ(info.Index("maxpool"), -1);
  EXPECT_EQ(info.MacCount(), 555422720);
}

TEST(ResNetImageNetTest, UnsetSizesComeFromTheDataSet) {
  ImageDefaults data;
  data.classes = 7;
  data.channels = 1;
  data.height = 96;
  data.width = 64;
  EXPECT_EQ(Build(Depth(18), data).classes(), 7);
  EXPECT_EQ(Build(Depth(18), data).input_shape().channels, 1);
  EXPECT_EQ(Build(Depth(18), data).input_shape().height, 96);
  EXPECT_EQ(Build(Depth(18), data).input_shape().width, 64);
  ResNetImageNet set = Depth(18);
  set.set_classes(3);
  set.set_image_size(32);
  set.set_input_channels(2);
  set.set_width(8);
  EXPECT_EQ(Build(set, data).classes(), 3);
  EXPECT_EQ(Build(set, data).input_shape().width, 32);
  EXPECT_EQ(Build(set, data).input_shape().channels, 2);
  EXPECT_EQ(Build(set, data).shape("layer4.0.add").channels, 64);
}

TEST(ResNetImageNetTest, RefusesBadParameters) {
  for (const int depth : {0, -18, 20, 56, 1001}) {
    const absl::Status status = CreateResNetImageNet(Depth(depth), {}).status();
    EXPECT_EQ(ErrorField(status), "depth") << depth;
    EXPECT_NE(status.message().find("18, 34, 50, 101 or 152"), std::string::npos);
  }
  ResNetImageNet parameters;
  parameters.set_classes(0);
  EXPECT_EQ(ErrorField(CreateResNetImageNet(parameters, {}).status()), "classes");
  parameters = ResNetImageNet();
  parameters.set_width(-1);
  EXPECT_EQ(ErrorField(CreateResNetImageNet(parameters, {}).status()), "width");
  parameters = ResNetImageNet();
  parameters.set_image_size(int64_t{1} << 40);
  EXPECT_EQ(ErrorField(CreateResNetImageNet(parameters, {}).status()), "image_size");
  parameters = ResNetImageNet();
  parameters.set_input_channels(0);
  EXPECT_EQ(ErrorField(CreateResNetImageNet(parameters, {}).status()), "input_channels");
}

}  // namespace
}  // namespace prunelab
