#include "ml/network/readers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

using ::testing::ElementsAre;

// stem -> relu -> {conv1 -> bn1 -> relu1 -> pool -> conv2 -> bn2, shortcut} -> add -> relu2 -> last -> classifier.
NetworkInfo Block() {
  NetworkWriter net;
  const std::string stem = net.Relu("relu", net.Conv("stem", net.Image(3, 8, 8), {4, 3, 1, 1}));
  std::string x = net.Relu("relu1", net.BatchNorm("bn1", net.Conv("conv1", stem, {5, 3, 1, 1})));
  x = net.BatchNorm("bn2", net.Conv("conv2", net.MaxPool("pool", x, 2, 2), {6, 3, 1, 1}));
  x = net.Relu("relu2", net.Add("add", {x, net.Conv("shortcut", stem, {6, 1, 2, 0})}));
  net.Classifier("fc", net.Conv("last", x, {7, 3, 1, 1}), 3);
  return *NetworkInfo::Create(net.Take());
}

TEST(ReadersTest, BatchNormsBehind) {
  const NetworkInfo network = Block();
  EXPECT_EQ(OwnBatchNorm(network, "conv1"), "bn1");
  EXPECT_EQ(OwnBatchNorm(network, "conv2"), "bn2");
  EXPECT_EQ(OwnBatchNorm(network, "stem"), "");
  EXPECT_EQ(OwnBatchNorm(network, "shortcut"), "");
  EXPECT_EQ(OwnBatchNorms(network, {"conv1", "conv2", "stem"}),
            (std::map<std::string, std::string>{{"conv1", "bn1"}, {"conv2", "bn2"}}));
}

TEST(ReadersTest, OneReaderAlone) {
  const NetworkInfo network = Block();
  const auto inner = ReadByOneConvolution(network, "conv1");
  ASSERT_TRUE(inner.has_value());
  EXPECT_THAT(inner->batch_norms, ElementsAre("bn1"));
  EXPECT_EQ(inner->features, "pool");
  EXPECT_EQ(inner->reader, "conv2");
  for (const char* conv : {"stem", "conv2", "shortcut", "last"}) {
    EXPECT_FALSE(ReadByOneConvolution(network, conv).has_value()) << conv;
  }
}

TEST(ReadersTest, AGroupedReaderIsNone) {
  Network network = Block().network();
  network.mutable_node(Block().Index("stem"))->mutable_conv2d()->set_out_channels(6);
  Node* grouped = network.mutable_node(Block().Index("conv1"));
  grouped->mutable_conv2d()->set_out_channels(6);
  network.mutable_node(Block().Index("conv2"))->mutable_conv2d()->set_groups(2);
  EXPECT_FALSE(ReadByOneConvolution(*NetworkInfo::Create(network), "conv1").has_value());
}

TEST(ReadersTest, FeatureMaps) {
  const NetworkInfo network = Block();
  EXPECT_EQ(FeatureMap(network, "stem"), "relu");
  EXPECT_EQ(FeatureMap(network, "conv1"), "relu1");
  EXPECT_EQ(FeatureMap(network, "conv2"), "relu2");
  EXPECT_EQ(FeatureMap(network, "shortcut"), "relu2");
  EXPECT_EQ(FeatureMap(network, "last"), "last");
}

}  // namespace
}  // namespace prunelab
