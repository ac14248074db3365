#include "ml/models/mobilenet_v2.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const MobileNetV2& parameters, const ImageDefaults& defaults = {}) {
  return BuiltNetwork(CreateMobileNetV2(parameters, defaults));
}

TEST(MobileNetV2Test, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 3504872);
  EXPECT_EQ(info.convs().size(), 52u);
  // The paper's table 4: 300 million multiply-accumulates.
  EXPECT_EQ(info.MacCount(), 300774272);
  EXPECT_EQ(info.shape("features.18.2").channels, 1280);
  EXPECT_EQ(info.shape("features.18.2").height, 7);
  EXPECT_EQ(info.classes(), 1000);
}

TEST(MobileNetV2Test, NamesOfTorchvision) {
  const NetworkInfo info = Build({});
  for (const char* name : {"features.0.0", "features.0.1", "features.1.conv.0.0", "features.1.conv.1",
                           "features.1.conv.2", "features.2.conv.0.0", "features.2.conv.1.0", "features.2.conv.2",
                           "features.2.conv.3", "features.17.conv.3", "features.18.0", "classifier.1"}) {
    EXPECT_GE(info.Index(name), 0) << name;
  }
  EXPECT_EQ(info.node(info.Index("features.2.conv.1.0")).conv2d().groups(), 96);
  EXPECT_GE(info.Index("features.3.add"), 0);
  EXPECT_EQ(info.Index("features.2.add"), -1);  // it has stride 2
}

TEST(MobileNetV2Test, TheCifarStemHalvesThreeTimes) {
  MobileNetV2 parameters;
  parameters.set_stem(MobileNetV2::CIFAR);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.input_shape().height, 32);
  EXPECT_EQ(info.shape("features.18.2").height, 4);
  EXPECT_EQ(info.classes(), 10);
}

TEST(MobileNetV2Test, WidthsAreMultiplesOfEight) {
  MobileNetV2 parameters;
  parameters.set_width_multiplier(0.25);
  const NetworkInfo quarter = Build(parameters);
  EXPECT_EQ(quarter.shape("features.0.2").channels, 8);
  EXPECT_EQ(quarter.shape("features.17.conv.3").channels, 80);
  EXPECT_EQ(quarter.shape("features.18.2").channels, 1280);  // the last does not shrink
  parameters.set_width_multiplier(1.4);
  const NetworkInfo wide = Build(parameters);  // the paper's largest: 6.9 million parameters, 585 million MACs
  EXPECT_EQ(wide.shape("features.0.2").channels, 48);
  EXPECT_EQ(wide.shape("features.18.2").channels, 1792);
  EXPECT_NEAR(static_cast<double>(wide.ParameterCount()), 6.1e6, 0.05e6);
}

TEST(MobileNetV2Test, DropoutIsThereOnlyIfAskedFor) {
  EXPECT_EQ(Build({}).Index("classifier.0"), -1);
  MobileNetV2 parameters;
  parameters.set_dropout(0.2);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.node(info.Index("classifier.0")).dropout().probability(), 0.2);
  EXPECT_EQ(info.ParameterCount(), 3504872);
}

TEST(MobileNetV2Test, RefusesBadParameters) {
  for (const double multiplier : {0.0, -1.0, 1e-3, 101.0, std::nan("")}) {
    MobileNetV2 parameters;
    parameters.set_width_multiplier(multiplier);
    EXPECT_EQ(ErrorField(CreateMobileNetV2(parameters, {}).status()), "width_multiplier") << multiplier;
  }
  MobileNetV2 parameters;
  parameters.set_dropout(1);
  EXPECT_EQ(ErrorField(CreateMobileNetV2(parameters, {}).status()), "dropout");
  parameters.clear_dropout();
  parameters.set_classes(0);
  EXPECT_EQ(ErrorField(CreateMobileNetV2(parameters, {}).status()), "classes");
}

}  // namespace
}  // namespace prunelab
