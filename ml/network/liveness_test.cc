#include "ml/network/liveness.h"

#include <gtest/gtest.h>

#include <map>

#include "google/protobuf/text_format.h"

namespace prunelab {
namespace {

NetworkInfo Parse(const std::string& text) {
  Network network;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &network)) << text;
  return *NetworkInfo::Create(network);
}

// Weights of ones, with some filters off, and BN that adds a shift per node.
struct TestWeights {
  std::map<std::string, std::vector<int>> dead;  // conv node -> filters off
  std::map<std::string, double> shift;           // BN node -> shift of every channel (scale is 1)

  LivenessWeights For(const NetworkInfo& info) const {
    LivenessWeights weights;
    weights.matrix = [this, &info](const std::string& node) {
      LivenessWeights::Matrix m;
      const int i = info.Index(node);
      const int64_t out = info.shape(i).channels, in = info.shape(info.inputs(i)[0]).channels;
      for (int64_t o = 0; o < out; ++o) {
        const auto it = dead.find(node);
        const bool off = it != dead.end() && std::count(it->second.begin(), it->second.end(), o) > 0;
        for (int64_t k = 0; k < in; ++k) {
          m.tap_sums.push_back(off ? 0 : 1);
          m.nonzero.push_back(!off);
        }
      }
      if (info.node(i).op_case() == Node::kLinear) m.bias.assign(out, 0);
      return m;
    };
    weights.affine = [this, &info](const std::string& node) {
      const int64_t channels = info.shape(node).channels;
      const auto it = shift.find(node);
      return LivenessWeights::Affine{std::vector<double>(channels, 1),
                                     std::vector<double>(channels, it == shift.end() ? -1 : it->second)};
    };
    return weights;
  }
};

// image(3) -> a(4) -> bn -> relu -> b(5) -> bn -> relu -> pool -> linear(2)
constexpr char kChain[] = R"pb(
  node {
    name: "image"
    image { channels: 3 height: 4 width: 4 }
  }
  node {
    name: "a"
    input: "image"
    conv2d { out_channels: 4 padding: 1 }
  }
  node {
    name: "bn_a"
    input: "a"
    batch_norm2d {}
  }
  node {
    name: "relu_a"
    input: "bn_a"
    relu {}
  }
  node {
    name: "b"
    input: "relu_a"
    conv2d { out_channels: 5 padding: 1 }
  }
  node {
    name: "bn_b"
    input: "b"
    batch_norm2d {}
  }
  node {
    name: "relu_b"
    input: "bn_b"
    relu {}
  }
  node {
    name: "pool"
    input: "relu_b"
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
    linear { out_features: 2 }
  }
)pb";

TEST(LivenessTest, NothingDeadKeepsEverything) {
  const NetworkInfo info = Parse(kChain);
  const Liveness live = AnalyzeLiveness(info, TestWeights{}.For(info));
  EXPECT_EQ(live.live_parameters, info.ParameterCount());
  EXPECT_EQ(live.live_macs, info.MacCount());
}

TEST(LivenessTest, DeadFiltersLeaveWithTheInputsTheyFed) {
  const NetworkInfo info = Parse(kChain);
  // Filters 1 and 3 of a are off; their constants are max(0, -1) = 0: nothing is stored.
  const Liveness live = AnalyzeLiveness(info, TestWeights{{{"a", {1, 3}}}, {}}.For(info));
  EXPECT_EQ(live.state[info.Index("relu_a")][1], ChannelState::kConstant);
  EXPECT_EQ(live.state[info.Index("relu_a")][0], ChannelState::kLive);
  EXPECT_EQ(live.live_parameters, (2 * 27 + 4) + (5 * 2 * 9 + 10) + (2 * 5 + 2));
  EXPECT_EQ(live.live_macs, 16 * 2 * 27 + 16 * 5 * 2 * 9 + 10);
}

TEST(LivenessTest, ConstantsThatDoNotVanishAreStored) {
  const NetworkInfo info = Parse(kChain);
  // The constants are max(0, 0.5): each of b's five filters stores one value a tap, as its border differs.
  const Liveness live = AnalyzeLiveness(info, TestWeights{{{"a", {1, 3}}}, {{"bn_a", 0.5}}}.For(info));
  EXPECT_EQ(live.value[info.Index("relu_a")][1], 0.5);
  EXPECT_EQ(live.live_parameters, (2 * 27 + 4) + (5 * 2 * 9 + 10) + 5 * 9 + (2 * 5 + 2));
}

TEST(LivenessTest, ALayerWhoseReaderIsDeadIsDropped) {
  const NetworkInfo info = Parse(kChain);
  const Liveness live = AnalyzeLiveness(info, TestWeights{{{"b", {0, 1, 2, 3, 4}}}, {}}.For(info));
  EXPECT_EQ(live.live_macs, 0);
  EXPECT_EQ(live.live_parameters, 0);  // the logits are constants themselves
}

TEST(LivenessTest, ConvolutionWithOnlyConstantInputsGivesAMap) {
  const NetworkInfo info = Parse(kChain);
  const Liveness live = AnalyzeLiveness(info, TestWeights{{{"a", {0, 1, 2, 3}}}, {{"bn_a", 0.5}}}.For(info));
  EXPECT_EQ(live.state[info.Index("b")][0], ChannelState::kMap);
  EXPECT_EQ(live.state[info.Index("flat")][0], ChannelState::kConstant);
  EXPECT_EQ(live.live_macs, 0);
}

// A stream of 4 channels: stem -> block(c1 -> c2) added to it.
constexpr char kResidual[] = R"pb(
  node {
    name: "image"
    image { channels: 3 height: 4 width: 4 }
  }
  node {
    name: "stem"
    input: "image"
    conv2d { out_channels: 4 padding: 1 }
  }
  node {
    name: "bn"
    input: "stem"
    batch_norm2d {}
  }
  node {
    name: "relu"
    input: "bn"
    relu {}
  }
  node {
    name: "c1"
    input: "relu"
    conv2d { out_channels: 4 padding: 1 }
  }
  node {
    name: "bn1"
    input: "c1"
    batch_norm2d {}
  }
  node {
    name: "relu1"
    input: "bn1"
    relu {}
  }
  node {
    name: "c2"
    input: "relu1"
    conv2d { out_channels: 4 padding: 1 }
  }
  node {
    name: "bn2"
    input: "c2"
    batch_norm2d {}
  }
  node {
    name: "add"
    input: "bn2"
    input: "relu"
    add {}
  }
  node {
    name: "relu2"
    input: "add"
    relu {}
  }
  node {
    name: "pool"
    input: "relu2"
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
    linear { out_features: 2 }
  }
)pb";

TEST(LivenessTest, StreamsKeepTheirWidth) {
  const NetworkInfo info = Parse(kResidual);
  // Two of the stem's filters are off: c1 still reads four channels. bn's constants max(0, -1) vanish.
  const Liveness stem = AnalyzeLiveness(info, TestWeights{{{"stem", {0, 1}}}, {}}.For(info));
  EXPECT_EQ(stem.live_parameters, info.ParameterCount() - 2 * 27 - 4);
  // With constants of 0.5 two values are stored in the stream.
  const Liveness stored = AnalyzeLiveness(info, TestWeights{{{"stem", {0, 1}}}, {{"bn", 0.5}}}.For(info));
  EXPECT_EQ(stored.live_parameters, info.ParameterCount() - 2 * 27 - 4 + 2);
}

TEST(LivenessTest, ABlockWhoseLastConvolutionIsDeadLeavesItsConstants) {
  const NetworkInfo info = Parse(kResidual);
  const Liveness live = AnalyzeLiveness(info, TestWeights{{{"c2", {0, 1, 2, 3}}}, {{"bn2", 0.25}}}.For(info));
  // The stem, four constants added to the stream, and the linear layer.
  EXPECT_EQ(live.live_parameters, 4 * 27 + 8 + 4 + 10);
  EXPECT_EQ(live.live_macs, 16 * 4 * 27 + 8);
}

}  // namespace
}  // namespace prunelab
