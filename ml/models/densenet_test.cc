#include "ml/models/densenet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const DenseNet& parameters) { return BuiltNetwork(CreateDenseNet(parameters, {})); }

DenseNet Cifar(int depth) {
  DenseNet parameters;
  parameters.set_stem(DenseNet::CIFAR);
  parameters.set_depth(depth);
  return parameters;
}

TEST(DenseNetTest, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 7978856);
  EXPECT_EQ(info.convs().size(), 120u);
  // torchvision's documentation says 2.834 billion, without BN.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 2.834e9, 0.001e9);
  EXPECT_EQ(info.shape("features.relu5").channels, 1024);
  EXPECT_EQ(info.shape("features.relu5").height, 7);
  EXPECT_EQ(info.classes(), 1000);
}

TEST(DenseNetTest, ChannelsOfTheBlocks) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.shape("features.pool0").channels, 64);
  EXPECT_EQ(info.shape("features.denseblock1.denselayer1.conv1").channels, 128);
  EXPECT_EQ(info.shape("features.denseblock1.denselayer1.conv2").channels, 32);
  EXPECT_EQ(info.shape("features.denseblock1.denselayer6.concat").channels, 256);
  EXPECT_EQ(info.shape("features.transition1.pool").channels, 128);
  EXPECT_EQ(info.shape("features.transition1.pool").height, 28);
  EXPECT_EQ(info.Index("features.transition4.conv"), -1);
}

// Table 2 of the paper: 0.8 million parameters for DenseNet-BC-100, 15.3 million for DenseNet-BC-250 with growth
// 24, 1.0 million for the plain DenseNet-40.
TEST(DenseNetTest, TheCifarStemHasThreeBlocks) {
  const NetworkInfo info = Build(Cifar(100));
  EXPECT_EQ(info.ParameterCount(), 769162);
  EXPECT_EQ(info.shape("features.conv0").channels, 24);
  EXPECT_EQ(info.shape("features.conv0").height, 32);
  EXPECT_EQ(info.shape("features.relu5").height, 8);
  EXPECT_EQ(info.Index("features.norm0"), -1);
  EXPECT_EQ(info.classes(), 10);
  DenseNet large = Cifar(250);
  large.set_growth(24);
  EXPECT_NEAR(static_cast<double>(Build(large).ParameterCount()), 15.3e6, 0.05e6);
}

TEST(DenseNetTest, PlainLayersHaveOneConvolution) {
  DenseNet plain = Cifar(40);
  plain.set_bottleneck(false);
  const NetworkInfo info = Build(plain);
  EXPECT_EQ(info.ParameterCount(), 1019722);
  EXPECT_EQ(info.shape("features.conv0").channels, 16);
  EXPECT_EQ(info.shape("features.denseblock1.denselayer12.concat").channels, 16 + 12 * 12);
  EXPECT_EQ(info.shape("features.transition1.conv").channels, 16 + 12 * 12);
  EXPECT_EQ(info.Index("features.denseblock1.denselayer1.conv2"), -1);
}

// Normal with a variance of 2 over the products that a sum has.
TEST(DenseNetTest, InitialDeviations) {
  const NetworkInfo info = Build({});
  const auto deviation = [&](const char* name) { return info.node(info.Index(name)).conv2d().initial_deviation(); };
  EXPECT_DOUBLE_EQ(deviation("features.conv0"), std::sqrt(2.0 / (3 * 49)));
  EXPECT_DOUBLE_EQ(deviation("features.denseblock1.denselayer2.conv1"), std::sqrt(2.0 / 96));
  EXPECT_DOUBLE_EQ(deviation("features.denseblock1.denselayer2.conv2"), std::sqrt(2.0 / (128 * 9)));
}

TEST(DenseNetTest, RefusesBadParameters) {
  for (const int depth : {0, 3, 4, 41, 121, 1006}) {
    EXPECT_EQ(ErrorField(CreateDenseNet(Cifar(depth), {}).status()), "depth") << depth;
  }
  DenseNet parameters;
  parameters.set_depth(100);
  EXPECT_EQ(ErrorField(CreateDenseNet(parameters, {}).status()), "depth");
  parameters.clear_depth();
  parameters.set_bottleneck(false);
  EXPECT_EQ(ErrorField(CreateDenseNet(parameters, {}).status()), "bottleneck");
  parameters.clear_bottleneck();
  parameters.set_growth(0);
  EXPECT_EQ(ErrorField(CreateDenseNet(parameters, {}).status()), "growth");
  parameters.clear_growth();
  for (const double dropout : {-0.1, 1.0, std::nan("")}) {
    parameters.set_dropout(dropout);
    EXPECT_EQ(ErrorField(CreateDenseNet(parameters, {}).status()), "dropout") << dropout;
  }
}

}  // namespace
}  // namespace prunelab
