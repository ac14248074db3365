#include "ml/models/regnet.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const RegNet& parameters) { return BuiltNetwork(CreateRegNet(parameters, {})); }

TEST(RegNetTest, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 5495976);
  // torchvision's documentation says 0.414 billion.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 0.414e9, 0.001e9);
  EXPECT_EQ(info.shape("stem.2").channels, 32);
  EXPECT_EQ(info.shape("avgpool").channels, 400);
  EXPECT_EQ(info.classes(), 1000);
}

// The paper's table: depths 1, 2, 7, 12 and widths 32, 64, 160, 400.
TEST(RegNetTest, StagesOfThePaper) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.shape("trunk_output.block1.block1-0.activation").channels, 32);
  EXPECT_EQ(info.Index("trunk_output.block1.block1-1.activation"), -1);
  EXPECT_EQ(info.shape("trunk_output.block2.block2-1.activation").channels, 64);
  EXPECT_EQ(info.shape("trunk_output.block3.block3-6.activation").channels, 160);
  EXPECT_EQ(info.shape("trunk_output.block4.block4-11.activation").channels, 400);
  EXPECT_EQ(info.shape("trunk_output.block4.block4-11.activation").height, 7);
  EXPECT_EQ(info.node(info.Index("trunk_output.block4.block4-0.f.b.0")).conv2d().groups(), 25);
  EXPECT_GE(info.Index("trunk_output.block4.block4-0.proj.0"), 0);
  EXPECT_EQ(info.Index("trunk_output.block4.block4-1.proj.0"), -1);
}

TEST(RegNetTest, TheCifarStemHalvesThreeTimes) {
  RegNet parameters;
  parameters.set_stem(RegNet::CIFAR);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.input_shape().height, 32);
  EXPECT_EQ(info.shape("trunk_output.block1.block1-0.activation").height, 32);
  EXPECT_EQ(info.shape("trunk_output.block4.block4-0.activation").height, 4);
  EXPECT_EQ(info.classes(), 10);
}

// Blocks of 16, 24, ..., 48 channels: powers of 2 times 16 are 16, 32, 32, 32, 64 (log2 of 1.5, 2, 2.5 and 3 is 0.58,
// 1, 1.32 and 1.58).
TEST(RegNetTest, OneOfYourOwn) {
  RegNet parameters;
  parameters.set_stem(RegNet::CIFAR);
  parameters.set_depth(5);
  parameters.set_initial_width(16);
  parameters.set_slope(8);
  parameters.set_width_step(2);
  parameters.set_group_width(24);
  parameters.set_stem_width(8);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.shape("stem.2").channels, 8);
  EXPECT_EQ(info.shape("trunk_output.block1.block1-0.activation").channels, 16);  // one group of 16
  EXPECT_EQ(info.node(info.Index("trunk_output.block1.block1-0.f.b.0")).conv2d().groups(), 1);
  EXPECT_EQ(info.shape("trunk_output.block2.block2-2.activation").channels, 48);  // 24 would be a quarter less
  EXPECT_EQ(info.shape("trunk_output.block3.block3-0.activation").channels, 72);
  EXPECT_EQ(info.node(info.Index("trunk_output.block3.block3-0.f.b.0")).conv2d().groups(), 3);
  EXPECT_EQ(info.Index("trunk_output.block4.block4-0.activation"), -1);
}

TEST(RegNetTest, RefusesBadParameters) {
  using Change = std::function<void(RegNet&)>;
  const std::vector<std::pair<const char*, Change>> changes = {
      {"depth", [](RegNet& p) { p.set_depth(0); }},
      {"depth", [](RegNet& p) { p.set_depth(1001); }},
      {"initial_width", [](RegNet& p) { p.set_initial_width(0); }},
      {"initial_width", [](RegNet& p) { p.set_initial_width(20); }},
      {"slope", [](RegNet& p) { p.set_slope(-1); }},
      {"slope",
       [](RegNet& p) {
         p.set_slope(1000);
         p.set_depth(1000);
       }},
      {"width_step", [](RegNet& p) { p.set_width_step(1); }},
      {"group_width", [](RegNet& p) { p.set_group_width(0); }},
      {"se_ratio", [](RegNet& p) { p.set_se_ratio(1.5); }},
      {"stem_width", [](RegNet& p) { p.set_stem_width(-4); }},
      {"classes", [](RegNet& p) { p.set_classes(0); }},
  };
  for (const auto& [field, change] : changes) {
    RegNet parameters;
    change(parameters);
    EXPECT_EQ(ErrorField(CreateRegNet(parameters, {}).status()), field);
  }
}

}  // namespace
}  // namespace prunelab
