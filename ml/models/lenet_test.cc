#include "ml/models/lenet.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const LeNet& parameters, const ImageDefaults& defaults = {}) {
  return BuiltNetwork(CreateLeNet(parameters, defaults));
}

LeNet Kind(LeNet::Kind kind, int64_t padding = 0) {
  LeNet parameters;
  parameters.set_kind(kind);
  if (padding != 0) parameters.set_padding(padding);
  return parameters;
}

ImageDefaults Digits() {
  ImageDefaults digits;
  digits.classes = 10;
  digits.channels = 1;
  digits.height = digits.width = 8;
  return digits;
}

// Weights of each layer by Han et al. (ICLR 2016), tables 2 and 3: 235K, 30K, 1K and 0.5K, 25K, 400K, 5K.
TEST(LeNetTest, SizesOfTheLiterature) {
  const NetworkInfo fully_connected = Build({});
  EXPECT_EQ(fully_connected.ParameterCount(), 266610);
  const NetworkInfo lenet5 = Build(Kind(LeNet::LENET_5));
  EXPECT_EQ(lenet5.ParameterCount(), 431080);
  const auto weights = [](const NetworkInfo& info) {
    std::vector<int64_t> counts;
    for (const ConvInfo& conv : info.convs()) counts.push_back(conv.filters * conv.weights_per_filter);
    return counts;
  };
  EXPECT_EQ(weights(fully_connected), (std::vector<int64_t>{235200, 30000, 1000}));
  EXPECT_EQ(weights(lenet5), (std::vector<int64_t>{500, 25000, 400000, 5000}));
  EXPECT_TRUE(lenet5.CheckLogits().ok());
  EXPECT_TRUE(fully_connected.CheckLogits().ok());
  // Every weight of a fully connected layer is used once.
  EXPECT_EQ(fully_connected.MacCount(), 266200);
  EXPECT_EQ(lenet5.MacCount(), 500 * 24 * 24 + 25000 * 8 * 8 + 405000);
}

TEST(LeNetTest, PaddingIsForSmallImages) {
  const NetworkInfo info = Build(Kind(LeNet::LENET_5, 2), Digits());
  EXPECT_EQ(info.shape("conv1").height, 8);
  EXPECT_EQ(info.shape("pool1").height, 4);
  EXPECT_EQ(info.shape("conv2").height, 4);
  EXPECT_EQ(info.shape("features").channels, 50 * 2 * 2);
  EXPECT_EQ(info.ParameterCount(), 520 + 25050 + 100500 + 5010);
  EXPECT_EQ(Build({}, Digits()).ParameterCount(), 19500 + 30100 + 1010);
}

TEST(LeNetTest, SizesComeFromTheParametersFirst) {
  LeNet parameters;
  parameters.set_classes(3);
  parameters.set_input_channels(2);
  parameters.set_image_size(4);
  const NetworkInfo info = Build(parameters, Digits());
  EXPECT_EQ(info.classes(), 3);
  EXPECT_EQ(info.shape("features").channels, 2 * 4 * 4);
}

// Caffe's "xavier": a variance of one over the inputs of an output.
TEST(LeNetTest, InitialWeightsAreCaffes) {
  const NetworkInfo info = Build(Kind(LeNet::LENET_5, 2), Digits());
  EXPECT_DOUBLE_EQ(info.InitialDeviation(info.Index("conv1")), 1 / std::sqrt(25.0));
  EXPECT_DOUBLE_EQ(info.InitialDeviation(info.Index("conv2")), 1 / std::sqrt(500.0));
  EXPECT_DOUBLE_EQ(info.InitialDeviation(info.Index("fc1")), 1 / std::sqrt(200.0));
  const NetworkInfo fully_connected = Build({}, Digits());
  EXPECT_DOUBLE_EQ(fully_connected.InitialDeviation(fully_connected.Index("fc1")), 1 / std::sqrt(64.0));
}

TEST(LeNetTest, RefusesBadParameters) {
  const absl::Status small = CreateLeNet(Kind(LeNet::LENET_5), Digits()).status();
  EXPECT_EQ(ErrorField(small), "image_size");
  EXPECT_NE(small.message().find("is 8; must be at least 16 with a padding of 0; a padding of 2 is enough"),
            std::string::npos)
      << small;
  LeNet parameters = Kind(LeNet::LENET_5);
  parameters.set_image_size(15);
  EXPECT_EQ(ErrorField(CreateLeNet(parameters, {}).status()), "image_size");
  parameters.set_image_size(16);
  EXPECT_TRUE(CreateLeNet(parameters, {}).ok());
  parameters.set_padding(3);
  EXPECT_EQ(ErrorField(CreateLeNet(parameters, {}).status()), "padding");
  parameters.set_padding(-1);
  EXPECT_EQ(ErrorField(CreateLeNet(parameters, {}).status()), "padding");
  EXPECT_EQ(ErrorField(CreateLeNet(Kind(LeNet::LENET_300_100, 1), {}).status()), "padding");
  parameters = Kind(LeNet::LENET_5, 2);
  parameters.set_image_size(3);
  EXPECT_EQ(ErrorField(CreateLeNet(parameters, {}).status()), "image_size");
  parameters.set_image_size(4);
  EXPECT_TRUE(CreateLeNet(parameters, {}).ok());
  parameters.set_classes(0);
  EXPECT_EQ(ErrorField(CreateLeNet(parameters, {}).status()), "classes");
}

}  // namespace
}  // namespace prunelab
