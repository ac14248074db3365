#include "ml/models/mnasnet.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const MnasNet& parameters) { return BuiltNetwork(CreateMnasNet(parameters, {})); }

const Node& NodeOf(const NetworkInfo& info, const char* name) { return info.node(info.Index(name)); }

TEST(MnasNetTest, SizesOfTorchvision) {
  const NetworkInfo info = Build({});
  EXPECT_EQ(info.ParameterCount(), 4383312);
  // torchvision's documentation says 0.314 billion, the paper 315 million.
  EXPECT_NEAR(static_cast<double>(info.MacCount()), 0.314e9, 0.001e9);
  EXPECT_EQ(info.shape("layers.16").channels, 1280);
  EXPECT_EQ(info.shape("layers.16").height, 7);
}

TEST(MnasNetTest, NormsAndInitialWeights) {
  const NetworkInfo info = Build({});
  EXPECT_DOUBLE_EQ(NodeOf(info, "layers.8.0.layers.1").batch_norm2d().momentum(), 0.0003);
  EXPECT_DOUBLE_EQ(NodeOf(info, "layers.3").conv2d().initial_deviation(), std::sqrt(2.0 / (9 * 32)));
  EXPECT_DOUBLE_EQ(NodeOf(info, "classifier.1").linear().initial_deviation(), std::sqrt(1.0 / 1000));
  EXPECT_EQ(NodeOf(info, "classifier.0").dropout().probability(), 0.2);
}

TEST(MnasNetTest, TheCifarStemHalvesThreeTimes) {
  MnasNet parameters;
  parameters.set_stem(MnasNet::CIFAR);
  parameters.set_width_multiplier(0.25);
  const NetworkInfo info = Build(parameters);
  EXPECT_EQ(info.input_shape().height, 32);
  EXPECT_EQ(info.shape("layers.16").height, 4);
  EXPECT_EQ(info.shape("layers.0").channels, 8);
  EXPECT_EQ(info.shape("layers.16").channels, 1280);
}

TEST(MnasNetTest, TheMomentumOfNorms) {
  MnasNet parameters;
  parameters.set_norm_momentum(0.25);
  EXPECT_EQ(NodeOf(Build(parameters), "layers.8.0.layers.1").batch_norm2d().momentum(), 0.25);
}

TEST(MnasNetTest, RefusesBadParameters) {
  for (const double value : {-1.0, std::nan(""), 101.0}) {
    MnasNet parameters;
    parameters.set_width_multiplier(value);
    EXPECT_EQ(ErrorField(CreateMnasNet(parameters, {}).status()), "width_multiplier") << value;
    parameters.clear_width_multiplier();
    parameters.set_dropout(value);
    EXPECT_EQ(ErrorField(CreateMnasNet(parameters, {}).status()), "dropout") << value;
    parameters.clear_dropout();
    parameters.set_norm_momentum(value);
    EXPECT_EQ(ErrorField(CreateMnasNet(parameters, {}).status()), "norm_momentum") << value;
  }
}

}  // namespace
}  // namespace prunelab
