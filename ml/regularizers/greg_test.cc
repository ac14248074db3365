#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "ml/base/random.h"
#include "ml/network/channel_groups.h"
#include "ml/network/network_writer.h"
#include "ml/regularizers/greg.pb.h"
#include "ml/regularizers/regularizer.h"

namespace prunelab {
namespace {

// A residual stream, groups of a convolution, a depthwise one, and channels that are several features each.
NetworkInfo Mixed() {
  NetworkWriter net;
  net.Image(2, 4, 4, "x");
  net.Conv("stem", "x", {4, 3, 1, 1});
  net.BatchNorm("bn", "stem");
  net.Conv("inner", "bn", {6, 3, 1, 1});
  net.Conv("back", "inner", {4, 3, 1, 1});
  net.Add("sum", {"back", "bn"});
  net.Conv("grouped", "sum", {6, 3, 1, 1, false, 2});
  net.Conv("depthwise", "grouped", {6, 3, 1, 1, false, 6});
  net.Flatten("flat", "depthwise");
  net.Linear("fc", "flat", 3);
  return *NetworkInfo::Create(net.Take());
}

std::vector<RegularizedLayer> Drawn(const NetworkInfo& network) {
  std::vector<RegularizedLayer> layers;
  for (const ParameterSpec& parameter : network.parameters()) {
    if (parameter.is_buffer || parameter.name != parameter.node + ".weight") continue;
    RegularizedLayer layer;
    layer.node = parameter.node;
    layer.weight = at::empty(parameter.shape, at::kDouble);
    RandomStream stream(3, parameter.name);
    for (int64_t k = 0; k < layer.weight.numel(); ++k) layer.weight.data_ptr<double>()[k] = stream.Normal();
    layers.push_back(layer);
  }
  return layers;
}

// The weights of a group, as ones in tensors of zeros, by loops over channels.
std::map<std::string, at::Tensor> MembersOf(const ChannelGroup& group, const std::vector<RegularizedLayer>& layers,
                                            const NetworkInfo& network) {
  std::map<std::string, at::Tensor> members;
  for (const RegularizedLayer& layer : layers) members[layer.node] = at::zeros_like(layer.weight);
  for (const auto& [node, channel] : group.filters) members[node][channel] += 1;
  for (const auto& [node, channel] : group.batch_norms) members[node][channel] += 1;
  for (const auto& [node, channel] : group.readers) {
    const Node& each = network.node(network.Index(node));
    if (!each.has_conv2d() || each.conv2d().groups() == 1) {
      members[node].select(1, channel) += 1;
      continue;
    }
    // The filters of the channel's own group read it.
    const int64_t inputs = members[node].size(1), outputs = members[node].size(0) / each.conv2d().groups();
    const int64_t of = channel / inputs;
    members[node].slice(0, of * outputs, (of + 1) * outputs).select(1, channel % inputs) += 1;
  }
  return members;
}

TEST(GregTest, HalfTheSquaresOfTheWeakestGroupsByLoops) {
  const NetworkInfo network = Mixed();
  const std::vector<RegularizedLayer> layers = Drawn(network);
  const std::vector<ChannelGroup> groups = FindChannelGroups(network);
  for (const double rate : {0.1, 0.34, 0.5, 0.8}) {
    double value = 0;
    std::map<std::string, at::Tensor> expected;
    for (const RegularizedLayer& layer : layers) expected[layer.node] = at::zeros_like(layer.weight);
    size_t scope = 0;
    for (const GroupSet& set : SetsOf(groups, network)) {
      std::vector<std::pair<double, std::map<std::string, at::Tensor>>> of_set;
      for (const size_t group : set.groups) {
        std::map<std::string, at::Tensor> members = MembersOf(groups[group], layers, network);
        double sum = 0;
        for (const RegularizedLayer& layer : layers) {
          sum += (members[layer.node] * layer.weight.square()).sum().item<double>();
        }
        of_set.emplace_back(sum, std::move(members));
      }
      std::sort(of_set.begin(), of_set.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
      // As coupled removal counts; the first set loses int(n rate).
      const int64_t goes = GroupsToGo(static_cast<int64_t>(of_set.size()), rate, scope++);
      if (scope == 1) {
        EXPECT_EQ(goes, static_cast<int64_t>(rate * static_cast<double>(of_set.size())));
      }
      for (int64_t k = 0; k < goes; ++k) {
        value += of_set[k].first / 2;
        for (const RegularizedLayer& layer : layers) {
          expected[layer.node] += of_set[k].second[layer.node] * layer.weight;
        }
      }
    }
    Greg parameters;
    parameters.set_rate(rate);
    const Penalty penalty = (*CreateRegularizer(parameters, network))->ValueAndGradients(layers);
    if (value == 0) {
      EXPECT_FALSE(penalty.value.defined());
      continue;
    }
    EXPECT_NEAR(penalty.value.item<double>(), value, 1e-12 * value) << rate;
    for (size_t i = 0; i < layers.size(); ++i) {
      const at::Tensor gradient =
          penalty.gradients[i].defined() ? penalty.gradients[i] : at::zeros_like(layers[i].weight);
      EXPECT_TRUE(at::allclose(gradient, expected[layers[i].node], 1e-12, 1e-12)) << rate << " " << layers[i].node;
    }
  }
}

TEST(GregTest, ARateOfZeroIsNoPenalty) {
  const NetworkInfo network = Mixed();
  Greg parameters;
  parameters.set_rate(0);
  EXPECT_FALSE((*CreateRegularizer(parameters, network))->Value(Drawn(network)).defined());
}

}  // namespace
}  // namespace prunelab
