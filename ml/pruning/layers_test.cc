#include "ml/pruning/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/base/field_error.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

NetworkInfo ThreeConvs() {
  NetworkWriter net;
  net.Image(3, 4, 4);
  net.Conv("conv1", "image", {4, 3, 1, 1});
  net.Relu("relu", "conv1");
  net.Conv("layer1.0.conv1", "relu", {2, 3, 1, 1});
  net.Conv("layer1.0.downsample.0", "layer1.0.conv1", {2, 3, 1, 1});
  net.GlobalAveragePool("pool", "layer1.0.downsample.0");
  net.Flatten("flat", "pool");
  net.Linear("fc", "flat", 3);
  return *NetworkInfo::Create(net.Take());
}

absl::StatusOr<std::vector<std::string>> Select(const std::string& include, const char* exclude = nullptr) {
  LayerSelection selection;
  selection.set_include(include);
  if (exclude != nullptr) selection.set_exclude(exclude);
  return SelectLayers(selection, ThreeConvs());
}

TEST(LayersTest, Globs) {
  EXPECT_THAT(*SelectLayers(LayerSelection(), ThreeConvs()),
              ElementsAre("conv1", "layer1.0.conv1", "layer1.0.downsample.0"));
  EXPECT_THAT(*Select("layer*", "*.downsample.*"), ElementsAre("layer1.0.conv1"));
  EXPECT_THAT(*Select("*downsample*, conv1"), ElementsAre("conv1", "layer1.0.downsample.0"));
  EXPECT_THAT(*Select("*", ""), ElementsAre("conv1", "layer1.0.conv1", "layer1.0.downsample.0"));
}

TEST(LayersTest, RefusesWhatChoosesNothing) {
  absl::Status status = Select("conv1, conv2").status();
  EXPECT_EQ(ErrorField(status), "include");
  EXPECT_THAT(
      ErrorText(status),
      HasSubstr("\"conv2\" matches no convolution; the network has conv1, layer1.0.conv1, layer1.0.downsample.0"));
  // The linear layer is no convolution.
  EXPECT_EQ(ErrorField(Select("fc").status()), "include");
  status = Select("layer*", "*").status();
  EXPECT_EQ(ErrorField(status), "exclude");
  EXPECT_THAT(ErrorText(status), HasSubstr("leaves no convolution"));
}

}  // namespace
}  // namespace prunelab
