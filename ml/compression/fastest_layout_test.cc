#include "ml/compression/fastest_layout.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>
#include <vector>

#include "ml/compression/compressed_model.h"
#include "ml/compression/testing/random_models.h"
#include "ml/models/resnet_cifar.h"

namespace prunelab {
namespace {

TriedLayout Tried(int64_t parameters, double median) {
  TriedLayout tried;
  tried.parameters = parameters;
  tried.latency.median = median;
  return tried;
}

TEST(FastestLayoutTest, TheSmallestOfThoseThatAreNoSlower) {
  EXPECT_EQ(ChooseLayout({Tried(10, 1.01), Tried(20, 1.005), Tried(30, 1.0), Tried(40, 1.5)}), 0u);
  EXPECT_EQ(ChooseLayout({Tried(10, 1.03), Tried(30, 1.019), Tried(20, 1.0), Tried(40, 1.5)}), 2u);
  EXPECT_EQ(ChooseLayout({Tried(10, 3), Tried(20, 2), Tried(30, 1.0), Tried(40, 1.5)}), 2u);
  EXPECT_EQ(ChooseLayout({Tried(10, 3)}), 0u);
}

// A ResNet-8 of 8 x 8 pixels with streams of 16, 32 and 64 channels, 60 % of each layer's filters dead.
WeightedNetwork Pruned() {
  ResNetCifar parameters;
  parameters.set_depth(8);
  parameters.set_image_size(8);
  Model model = RandomModel(*NetworkInfo::Create(*CreateResNetCifar(parameters, {})), at::kFloat, 3);
  SetRandomMasks(model, MaskKind::kUniform, 5);
  return *ToWeightedNetwork(model);
}

CompressionOptions With(const ChannelLayout& layout) {
  CompressionOptions options;
  options.fold_batch_norm = true;
  options.layout = layout;
  return options;
}

NetworkInfo Removed(const ChannelLayout& layout) {
  WeightedNetwork network = Pruned();
  Compress(network, With(layout));
  return network.Info();
}

bool IsScatterOfBranch(const NetworkInfo& info, int i) {
  return info.node(i).op_case() == Node::kScatter && info.node(info.inputs(i)[0]).op_case() != Node::kConstant;
}

// An engine whose time is known: in maps of 64 pixels a tenth for each scatter of a branch, and for each convolution
// whose channels are no multiple of 8; in smaller maps every channel costs.
NetworkTimer KnownTimes(int& calls) {
  return [&calls](const std::vector<const WeightedNetwork*>& networks) {
    ++calls;
    std::vector<Latency> latencies;
    for (const WeightedNetwork* network : networks) {
      const NetworkInfo info = network->Info();
      double seconds = 1;
      for (int i = 0; i < info.network().node_size(); ++i) {
        const bool large = info.shape(i).height == 8;
        const int64_t channels = info.shape(i).channels;
        if (large && IsScatterOfBranch(info, i)) seconds += 0.1;
        if (info.node(i).op_case() != Node::kConv2D) continue;
        seconds += large ? 0.1 * (channels % 8 != 0) : 0.01 * channels;
      }
      latencies.push_back({seconds, seconds, seconds, 1});
    }
    return absl::StatusOr<std::vector<Latency>>(latencies);
  };
}

TEST(FastestLayoutTest, EachSizeOfMapsGetsItsOwnAndAllThatWasTriedIsSaid) {
  int calls = 0;
  const absl::StatusOr<FastestLayout> fastest = FindFastestLayout(Pruned(), With({}), KnownTimes(calls));
  ASSERT_TRUE(fastest.ok()) << fastest.status();
  // One for all layers, one for each of the four sizes (with the classifier's), and one of the finalists.
  EXPECT_EQ(calls, 6);
  SCOPED_TRACE(fastest->layout.Text());
  const NetworkInfo info = Removed(fastest->layout);
  for (int i = 0; i < info.network().node_size(); ++i) {
    if (info.shape(i).height != 8) continue;
    EXPECT_FALSE(IsScatterOfBranch(info, i)) << info.node(i).name();
    if (info.node(i).op_case() == Node::kConv2D) EXPECT_EQ(info.shape(i).channels % 8, 0) << info.node(i).name();
  }
  // Where every channel costs, only the live ones stay.
  const NetworkInfo plain = Removed({});
  for (int i = 0; i < plain.network().node_size(); ++i) {
    if (plain.node(i).op_case() != Node::kConv2D || plain.shape(i).height == 8) continue;
    EXPECT_EQ(info.shape(plain.node(i).name()).channels, plain.shape(i).channels) << plain.node(i).name();
  }

  ASSERT_GE(fastest->tried.size(), 2u);
  EXPECT_TRUE(fastest->tried[0].layout.IsPlain());
  std::set<std::string> texts;
  for (const TriedLayout& tried : fastest->tried) {
    EXPECT_TRUE(texts.insert(tried.layout.Text()).second) << tried.layout.Text();
    const NetworkInfo removed = Removed(tried.layout);
    EXPECT_EQ(tried.parameters, removed.ParameterCount() + removed.StoredConstantCount());
    EXPECT_EQ(tried.macs, removed.MacCount());
  }
  EXPECT_EQ(fastest->layout.Text(), fastest->tried[ChooseLayout(fastest->tried)].layout.Text());
}

TEST(FastestLayoutTest, PassesTheTimersErrorOn) {
  const absl::StatusOr<FastestLayout> fastest =
      FindFastestLayout(Pruned(), With({}), [](const auto&) { return absl::UnavailableError("no engine"); });
  EXPECT_EQ(fastest.status().message(), "no engine");
}

TEST(FastestLayoutTest, TimesNetworksHere) {
  const WeightedNetwork dense = Pruned();
  WeightedNetwork removed = dense;
  Compress(removed, With({}));
  const absl::StatusOr<std::vector<Latency>> latencies = TimerHere({2, 5, 0})({&dense, &removed});
  ASSERT_TRUE(latencies.ok());
  ASSERT_EQ(latencies->size(), 2u);
  for (const Latency& latency : *latencies) {
    EXPECT_EQ(latency.runs, 3);
    EXPECT_GT(latency.median, 0);
  }
}

TEST(FullStreamsTest, NothingIsScatteredAndDeadFiltersOutsideOfStreamsAreGone) {
  const NetworkInfo scattered = Removed({}), full = Removed({{1, Streams::kFull}, {}});
  const auto scatters = [](const NetworkInfo& info) {
    int count = 0;
    for (int i = 0; i < info.network().node_size(); ++i) count += IsScatterOfBranch(info, i);
    return count;
  };
  EXPECT_GT(scatters(scattered), 0);
  EXPECT_EQ(scatters(full), 0);
  EXPECT_LT(full.MacCount(), NetworkInfo(Pruned().Info()).MacCount());
  // The first convolution of a block writes into no stream.
  EXPECT_EQ(full.shape("layer1.0.conv1").channels, scattered.shape("layer1.0.conv1").channels);
  EXPECT_EQ(full.shape("layer1.0.conv2").channels, 16);
  EXPECT_LT(scattered.shape("layer1.0.conv2").channels, 16);
  // Multiples of 8 leave room for a channel that carries the constants of the dead ones.
  EXPECT_GT(scattered.StoredConstantCount(), 0);
  EXPECT_EQ(Removed({{8, Streams::kFull}, {}}).StoredConstantCount(), 0);
}

}  // namespace
}  // namespace prunelab
