#include "ml/network/compactors.h"

#include <gtest/gtest.h>

#include "google/protobuf/text_format.h"
#include "ml/network/network_writer.h"

namespace prunelab {
namespace {

// A block whose second convolution has no batch norm of its own, and an output in the middle.
NetworkInfo Block() {
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.BatchNorm("bn1", net.Conv("conv1", "image", {4, 3, 1, 1}));
  net.Conv("conv2", net.Relu("relu1", "bn1"), {4, 3, 1, 1, true});
  net.Add("add", {"conv2", "bn1"});
  net.Conv("depthwise", net.Relu("relu2", "add"), {4, 3, 1, 1, false, 4});
  net.Classifier("fc", "depthwise", 5);
  Network network = net.Take();
  network.add_output("fc");
  network.add_output("conv2");
  return *NetworkInfo::Create(network);
}

TEST(CompactorsTest, StandBehindTheBatchNorm) {
  const NetworkInfo dense = Block();
  const absl::StatusOr<Network> with = WithCompactors(dense, {"conv1", "conv2"});
  ASSERT_TRUE(with.ok()) << with.status();
  const NetworkInfo info = *NetworkInfo::Create(*with);
  const auto inputs = [&](const char* node) {
    const auto& list = info.node(info.Index(node)).input();
    return std::vector<std::string>(list.begin(), list.end());
  };
  EXPECT_EQ(inputs("conv1.compactor"), std::vector<std::string>{"bn1"});
  EXPECT_EQ(inputs("conv2.compactor"), std::vector<std::string>{"conv2"});
  EXPECT_EQ(inputs("relu1"), std::vector<std::string>{"conv1.compactor"});
  EXPECT_EQ(inputs("add"), (std::vector<std::string>{"conv2.compactor", "conv1.compactor"}));
  EXPECT_EQ(info.network().output(1), "conv2.compactor");
  EXPECT_EQ(info.ParameterCount(), dense.ParameterCount() + 2 * 16);
  EXPECT_TRUE(IsCompactor(info.node(info.Index("conv1.compactor"))));
  EXPECT_FALSE(IsCompactor(info.node(info.Index("conv1"))));
  EXPECT_EQ(WithoutCompactors(info).network().SerializeAsString(), dense.network().SerializeAsString());
  EXPECT_FALSE(WithCompactors(info, {"conv2"}).ok());
  EXPECT_TRUE(HasCompactors(info));
  EXPECT_FALSE(HasCompactors(dense));
}

TEST(CompactorsTest, AreOfOnePixel) {
  NetworkWriter net;
  net.Image(3, 8, 8);
  net.Conv("conv1", "image", {4, 3, 1, 1});
  net.last().mutable_conv2d()->set_initial_identity(true);
  EXPECT_FALSE(NetworkInfo::Create(net.Take()).ok());
  for (const char* wrong : {"stride: 2", "padding: 1", "pads: [0, 1, 0, 0]", "groups: 3", "weight_bits: 8"}) {
    net = NetworkWriter();
    net.Image(3, 8, 8);
    net.Conv("conv1", "image", {6, 1});
    ASSERT_TRUE(google::protobuf::TextFormat::MergeFromString(wrong, net.last().mutable_conv2d()));
    net.last().mutable_conv2d()->set_initial_identity(true);
    EXPECT_FALSE(NetworkInfo::Create(net.Take()).ok()) << wrong;
  }
}

}  // namespace
}  // namespace prunelab
