#include "ml/models/convnext.h"

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

NetworkInfo Build(const ConvNeXt& parameters) { return BuiltNetwork(CreateConvNeXt(parameters, {})); }

const Node& NodeOf(const NetworkInfo& info, const char* name) { return info.node(info.Index(name)); }

TEST(ConvNeXtTest, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 28589128);
  // torchvision's documentation says 4.456 billion.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 4.456e9, 0.001e9);
  EXPECT_EQ(info.shape("features.7.2.add").channels, 768);
  EXPECT_EQ(info.shape("features.7.2.add").height, 7);
}

TEST(ConvNeXtTest, NodesOfABlock) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(NodeOf(info, "features.1.0.block.0").conv2d().groups(), 96);
  EXPECT_EQ(NodeOf(info, "features.1.0.block.0").conv2d().initial_deviation(), 0.02);
  EXPECT_EQ(NodeOf(info, "features.1.0.block.2").layer_norm().epsilon(), 1e-6);
  EXPECT_EQ(info.shape("features.1.0.block.4").channels, 384);
  EXPECT_EQ(NodeOf(info, "features.1.0.layer_scale").channel_scale().initial_weight(), 1e-6);
  // The first block is never left out; the last, with the whole probability.
  EXPECT_EQ(info.Index("features.1.0.stochastic_depth"), -1);
  EXPECT_DOUBLE_EQ(NodeOf(info, "features.1.1.stochastic_depth").dropout().probability(), 0.1 / 17);
  EXPECT_DOUBLE_EQ(NodeOf(info, "features.7.2.stochastic_depth").dropout().probability(), 0.1);
}

TEST(ConvNeXtTest, MultipliersAndTheCifarStem) {
  ConvNeXt parameters;
  parameters.set_stem(ConvNeXt::CIFAR);
  parameters.set_width_multiplier(0.25);
  parameters.set_depth_multiplier(0.3);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.shape("features.0.0").height, 32);
  EXPECT_EQ(info.shape("features.7.0.add").height, 4);
  EXPECT_EQ(info.shape("features.7.0.add").channels, 192);
  EXPECT_GE(info.Index("features.5.2.add"), 0);  // 2.7 blocks are 3
  EXPECT_EQ(info.Index("features.5.3.add"), -1);
  EXPECT_EQ(info.Index("features.7.1.add"), -1);
}

TEST(ConvNeXtTest, RefusesBadParameters) {
  using Change = std::function<void(ConvNeXt&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"width_multiplier", [](ConvNeXt& p) { p.set_width_multiplier(0); }},
      {"depth_multiplier", [](ConvNeXt& p) { p.set_depth_multiplier(101); }},
      {"stochastic_depth", [](ConvNeXt& p) { p.set_stochastic_depth(1); }},
      {"layer_scale", [](ConvNeXt& p) { p.set_layer_scale(std::nan("")); }},
      {"classes", [](ConvNeXt& p) { p.set_classes(0); }},
  };
  for (const auto& [field, change] : changes) {
    ConvNeXt parameters;
    change(parameters);
    EXPECT_EQ(ErrorField(CreateConvNeXt(parameters, {}).status()), field);
  }
}

}  // namespace
}  // namespace prunelab
