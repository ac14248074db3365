#include "ml/models/efficientnet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const EfficientNet& parameters) { return BuiltNetwork(CreateEfficientNet(parameters, {})); }

EfficientNet Variant(EfficientNet::Variant variant) {
  EfficientNet parameters;
  parameters.set_variant(variant);
  return parameters;
}

const Node& NodeOf(const NetworkInfo& info, const char* name) { return info.node(info.Index(name)); }

TEST(EfficientNetTest, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 5288548);
  // torchvision's documentation says 0.386 billion, the paper 0.39.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 0.386e9, 0.001e9);
  EXPECT_EQ(info.shape("features.8.2").channels, 1280);
  EXPECT_EQ(info.shape("features.8.2").height, 7);
  EXPECT_EQ(Build(Variant(EfficientNet::B7)).ParameterCount(), 66347960);
  EXPECT_EQ(Build(Variant(EfficientNet::V2_S)).ParameterCount(), 21458488);
}

TEST(EfficientNetTest, BlocksOfB0) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.shape("features.1.0.block.1.fc1").channels, 8);  // a quarter of the block's input
  EXPECT_EQ(info.shape("features.2.1.block.2.fc1").channels, 6);
  EXPECT_EQ(NodeOf(info, "features.2.1.block.2.activation").elementwise().function(), Elementwise::SILU);
  EXPECT_EQ(NodeOf(info, "features.2.1.block.2.scale_activation").elementwise().function(), Elementwise::SIGMOID);
  EXPECT_EQ(info.Index("features.2.0.add"), -1);
  // The third of 16 blocks.
  EXPECT_EQ(NodeOf(info, "features.2.1.stochastic_depth").dropout().unit(), Dropout::IMAGE);
  EXPECT_DOUBLE_EQ(NodeOf(info, "features.2.1.stochastic_depth").dropout().probability(), 0.2 * 2 / 16);
  EXPECT_DOUBLE_EQ(NodeOf(info, "classifier.0").dropout().probability(), 0.2);
  EXPECT_DOUBLE_EQ(NodeOf(info, "classifier.1").linear().initial_deviation(), 1 / std::sqrt(3000.0));
}

TEST(EfficientNetTest, FusedBlocksOfV2) {
  const NetworkInfo info = Build(Variant(EfficientNet::V2_S));
  EXPECT_EQ(NodeOf(info, "features.1.0.block.0.0").conv2d().groups(), 1);
  EXPECT_EQ(info.Index("features.1.0.block.1.0"), -1);  // without expansion one convolution is left
  EXPECT_EQ(info.shape("features.2.0.block.0.2").channels, 96);
  EXPECT_EQ(NodeOf(info, "features.4.0.block.1.0").conv2d().groups(), 256);
  EXPECT_EQ(info.shape("features.7.2").channels, 1280);
  EXPECT_EQ(NodeOf(info, "features.0.1").batch_norm2d().epsilon(), 1e-3);
  EXPECT_EQ(NodeOf(info, "features.0.1").batch_norm2d().momentum(), 0.1);
  EXPECT_EQ(NodeOf(Build(Variant(EfficientNet::B5)), "features.0.1").batch_norm2d().momentum(), 0.01);
}

TEST(EfficientNetTest, MultipliersAndTheCifarStem) {
  EfficientNet parameters;
  parameters.set_stem(EfficientNet::CIFAR);
  parameters.set_width_multiplier(0.25);
  parameters.set_depth_multiplier(0.5);
  parameters.set_stochastic_depth(0);
  parameters.set_dropout(0);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.shape("features.0.2").channels, 8);
  EXPECT_EQ(info.shape(info.inputs(info.Index("avgpool"))[0]).channels, 320);
  EXPECT_EQ(info.shape(info.inputs(info.Index("avgpool"))[0]).height, 4);
  EXPECT_EQ(info.Index("features.2.1.block.0.0"), -1);
  EXPECT_GE(info.Index("features.4.1.add"), 0);  // half of 3 is 2
  EXPECT_EQ(info.Index("features.4.1.stochastic_depth"), -1);
  EXPECT_EQ(info.Index("classifier.0"), -1);
}

TEST(EfficientNetTest, RefusesBadParameters) {
  using Change = std::function<void(EfficientNet&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"width_multiplier", [](EfficientNet& p) { p.set_width_multiplier(0); }},
      {"depth_multiplier", [](EfficientNet& p) { p.set_depth_multiplier(101); }},
      {"dropout", [](EfficientNet& p) { p.set_dropout(1); }},
      {"stochastic_depth", [](EfficientNet& p) { p.set_stochastic_depth(std::nan("")); }},
      {"input_channels", [](EfficientNet& p) { p.set_input_channels(0); }},
  };
  for (const auto& [field, change] : changes) {
    EfficientNet parameters;
    change(parameters);
    EXPECT_EQ(ErrorField(CreateEfficientNet(parameters, {}).status()), field);
  }
}

}  // namespace
}  // namespace prunelab
