#include "ml/pruning/layers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/base/field_error.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

NetworkInfo ThreeConvs() {
  Network network;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(
      R"pb(
        node {
          name: "image"
          image { channels: 3 height: 4 width: 4 }
        }
        node {
          name: "conv1"
          input: "image"
          conv2d { out_channels: 4 padding: 1 }
        }
        node {
          name: "relu"
          input: "conv1"
          relu {}
        }
        node {
          name: "layer1.0.conv1"
          input: "relu"
          conv2d { out_channels: 2 padding: 1 }
        }
        node {
          name: "layer1.0.downsample.0"
          input: "layer1.0.conv1"
          conv2d { out_channels: 2 padding: 1 }
        }
        node {
          name: "pool"
          input: "layer1.0.downsample.0"
          global_average_pool {}
        }
        node {
          name: "flat"
          input: "pool"
          flatten {}
        }
        node {
          name: "fc"
          input: "flat"
          linear { out_features: 3 }
        }
      )pb",
      &network));
  return *NetworkInfo::Create(network);
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
