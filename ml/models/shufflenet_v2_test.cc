#include "ml/models/shufflenet_v2.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const ShuffleNetV2& parameters) { return BuiltNetwork(CreateShuffleNetV2(parameters, {})); }

const Node& NodeOf(const NetworkInfo& info, const char* name) { return info.node(info.Index(name)); }

TEST(ShuffleNetV2Test, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 2278604);
  // torchvision's documentation says 0.145 billion, the paper 146 million.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 0.145e9, 0.001e9);
  EXPECT_EQ(info.shape("conv5.2").channels, 1024);
  EXPECT_EQ(info.shape("conv5.2").height, 7);
}

TEST(ShuffleNetV2Test, HalvesAreInterleaved) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.Index("stage2.1.branch1.0"), -1);
  const Select& left = NodeOf(info, "stage2.1.left").select();
  const Select& right = NodeOf(info, "stage2.1.right").select();
  const Select& shuffle = NodeOf(info, "stage2.1.shuffle").select();
  ASSERT_EQ(shuffle.index_size(), 116);
  for (int c = 0; c < 58; ++c) {
    EXPECT_EQ(left.index(c), c);
    EXPECT_EQ(right.index(c), 58 + c);
    EXPECT_EQ(shuffle.index(2 * c), c);
    EXPECT_EQ(shuffle.index(2 * c + 1), 58 + c);
  }
  EXPECT_DOUBLE_EQ(NodeOf(info, "stage2.1.branch2.3").conv2d().initial_deviation(), std::sqrt(1.0 / 27));
}

TEST(ShuffleNetV2Test, TheCifarStemHalvesThreeTimes) {
  ShuffleNetV2 parameters;
  parameters.set_stem(ShuffleNetV2::CIFAR);
  parameters.set_variant(ShuffleNetV2::X0_5);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.Index("maxpool"), -1);
  EXPECT_EQ(info.shape("stage2.0.shuffle").channels, 48);
  EXPECT_EQ(info.shape("conv5.2").height, 4);
  EXPECT_EQ(info.classes(), 10);
  parameters.set_classes(0);
  EXPECT_EQ(ErrorField(CreateShuffleNetV2(parameters, {}).status()), "classes");
}

}  // namespace
}  // namespace prunelab
