#include "ml/models/resnet_cifar.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "ml/base/field_error.h"
#include "ml/models/testing/built_network.h"
#include "ml/network/network.h"

namespace prunelab {
namespace {

NetworkInfo Build(const ResNetCifar& parameters, const ImageDefaults& defaults = {}) {
  return BuiltNetwork(CreateResNetCifar(parameters, defaults));
}

ResNetCifar Depth(int depth) {
  ResNetCifar parameters;
  parameters.set_depth(depth);
  return parameters;
}

// The published sizes of the paper's network.
TEST(ResNetCifarTest, Depth56HasThePapersSizes) {
  const NetworkInfo info = Build(Depth(56));
  EXPECT_EQ(info.ParameterCount(), 855770);
  EXPECT_EQ(info.convs().size(), 57u);
  EXPECT_EQ(info.FilterCount(), 2128);
  EXPECT_EQ(info.MacCount(), 125747840);
  EXPECT_EQ(info.classes(), 10);
}

// He et al. 2016, table 6, gives 0.27, 0.46, 0.66, 0.85 and 1.7 million parameters (parameter-free shortcuts).
TEST(ResNetCifarTest, ParameterFreeShortcutsHaveThePublishedSizes) {
  for (const auto& [depth, parameters] : std::initializer_list<std::pair<int, int64_t>>{
           {20, 269722}, {32, 464154}, {44, 658586}, {56, 853018}, {110, 1727962}}) {
    ResNetCifar config = Depth(depth);
    config.set_shortcut(ResNetCifar::PARAMETER_FREE);
    const NetworkInfo info = Build(config);
    EXPECT_EQ(info.ParameterCount(), parameters) << depth;
    EXPECT_EQ(info.convs().size(), static_cast<size_t>(depth - 1)) << depth;
  }
}

TEST(ResNetCifarTest, NamesArePyTorchs) {
  const NetworkInfo info = Build(Depth(8));
  std::set<std::string> names;
  for (const ParameterSpec& spec : info.parameters()) names.insert(spec.name);
  for (const char* name :
       {"conv1.weight", "bn1.weight", "bn1.bias", "bn1.running_mean", "bn1.running_var", "bn1.num_batches_tracked",
        "layer1.0.conv1.weight", "layer1.0.bn2.bias", "layer2.0.downsample.0.weight",
        "layer2.0.downsample.1.running_var", "fc.weight", "fc.bias"}) {
    EXPECT_EQ(names.count(name), 1u) << name;
  }
  EXPECT_EQ(names.count("layer1.0.downsample.0.weight"), 0u);
}

TEST(ResNetCifarTest, UnsetSizesComeFromTheDataSet) {
  ImageDefaults digits;
  digits.classes = 7;
  digits.channels = 1;
  digits.height = digits.width = 8;
  const NetworkInfo info = Build(Depth(8), digits);
  EXPECT_EQ(info.classes(), 7);
  EXPECT_EQ(info.input_shape().channels, 1);
  EXPECT_EQ(info.input_shape().height, 8);
  EXPECT_EQ(info.shape("layer3.0.add").height, 2);
  ResNetCifar set = Depth(8);
  set.set_classes(3);
  set.set_image_size(16);
  EXPECT_EQ(Build(set, digits).classes(), 3);
  EXPECT_EQ(Build(set, digits).input_shape().width, 16);
}

TEST(ResNetCifarTest, RefusesWhatIsNoResNet) {
  for (const int depth : {0, -4, 7, 18, 51, 1208}) {
    const absl::StatusOr<Network> network = CreateResNetCifar(Depth(depth), {});
    ASSERT_FALSE(network.ok()) << depth;
    EXPECT_EQ(ErrorField(network.status()), "depth");
    EXPECT_NE(network.status().message().find("6n + 2"), std::string::npos);
  }
  ResNetCifar config;
  config.set_classes(0);
  EXPECT_EQ(ErrorField(CreateResNetCifar(config, {}).status()), "classes");
  config = ResNetCifar();
  config.set_width(-1);
  EXPECT_EQ(ErrorField(CreateResNetCifar(config, {}).status()), "width");
}

}  // namespace
}  // namespace prunelab
