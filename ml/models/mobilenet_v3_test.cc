#include "ml/models/mobilenet_v3.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const MobileNetV3& parameters) { return BuiltNetwork(CreateMobileNetV3(parameters, {})); }

const Node& NodeOf(const NetworkInfo& info, const char* name) { return info.node(info.Index(name)); }

TEST(MobileNetV3Test, SizesOfTorchvision) {
  const NetworkInfo large = Build({});
  EXPECT_EQ(large.ParameterCount(), 5483032);
  // torchvision's documentation says 0.217 billion, the paper 219 million.
  EXPECT_NEAR(static_cast<double>(large.MacCount()), 0.217e9, 0.001e9);
  EXPECT_EQ(large.shape("features.16.2").channels, 960);
  EXPECT_EQ(large.shape("features.16.2").height, 7);
  EXPECT_EQ(large.shape("classifier.0").channels, 1280);
  MobileNetV3 parameters;
  parameters.set_variant(MobileNetV3::SMALL);
  const NetworkInfo small = Build(parameters);
  EXPECT_EQ(small.ParameterCount(), 2542856);
  EXPECT_NEAR(static_cast<double>(small.MacCount()), 0.057e9, 0.001e9);
  EXPECT_EQ(small.shape("features.12.2").channels, 576);
  EXPECT_EQ(small.shape("classifier.0").channels, 1024);
}

TEST(MobileNetV3Test, GatesNormsAndDropout) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.Index("features.3.block.2.fc1"), -1);  // 24 channels: no gate
  EXPECT_EQ(info.shape("features.4.block.2.fc1").channels, 24);
  EXPECT_EQ(NodeOf(info, "features.4.block.2.activation").op_case(), Node::kRelu);
  EXPECT_EQ(NodeOf(info, "features.4.block.2.scale_activation").elementwise().function(), Elementwise::HARD_SIGMOID);
  EXPECT_EQ(NodeOf(info, "features.4.block.2.scale").arithmetic().function(), Arithmetic::MULTIPLY);
  EXPECT_EQ(NodeOf(info, "features.0.1").batch_norm2d().epsilon(), 1e-3);
  EXPECT_EQ(NodeOf(info, "features.0.1").batch_norm2d().momentum(), 0.01);
  EXPECT_EQ(NodeOf(info, "classifier.2").dropout().probability(), 0.2);
  EXPECT_EQ(NodeOf(info, "classifier.3").linear().initial_deviation(), 0.01);
  EXPECT_DOUBLE_EQ(NodeOf(info, "features.4.block.1.0").conv2d().initial_deviation(), std::sqrt(2.0 / (72 * 25)));
  MobileNetV3 parameters;
  parameters.set_dropout(0);
  EXPECT_EQ(Build(parameters).Index("classifier.2"), -1);
}

TEST(MobileNetV3Test, TheCifarStemHalvesThreeTimes) {
  for (const MobileNetV3::Variant variant : {MobileNetV3::LARGE, MobileNetV3::SMALL}) {
    MobileNetV3 parameters;
    parameters.set_variant(variant);
    parameters.set_stem(MobileNetV3::CIFAR);
    const NetworkInfo info = Build(parameters);
    EXPECT_EQ(info.input_shape().height, 32);
    EXPECT_EQ(info.shape(info.inputs(info.Index("avgpool"))[0]).height, 4);
    EXPECT_EQ(info.classes(), 10);
  }
}

TEST(MobileNetV3Test, TheMomentumOfNorms) {
  MobileNetV3 parameters;
  parameters.set_norm_momentum(0.25);
  EXPECT_EQ(NodeOf(Build(parameters), "features.0.1").batch_norm2d().momentum(), 0.25);
}

TEST(MobileNetV3Test, RefusesBadParameters) {
  for (const double value : {-1.0, std::nan(""), 101.0}) {
    MobileNetV3 parameters;
    parameters.set_width_multiplier(value);
    EXPECT_EQ(ErrorField(CreateMobileNetV3(parameters, {}).status()), "width_multiplier") << value;
    parameters.clear_width_multiplier();
    parameters.set_dropout(value);
    EXPECT_EQ(ErrorField(CreateMobileNetV3(parameters, {}).status()), "dropout") << value;
    parameters.clear_dropout();
    parameters.set_norm_momentum(value);
    EXPECT_EQ(ErrorField(CreateMobileNetV3(parameters, {}).status()), "norm_momentum") << value;
  }
}

}  // namespace
}  // namespace prunelab
