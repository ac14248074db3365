// Which channels a network's structure ties together.
//
//   stem conv, filter 3 --- sum --- channel 3 of the stream, read by all blocks
//   block.conv2, filter 3 -/        is one group: {stem 3, layer1.0.conv2 3, layer1.1.conv2 3, ...}
//
// Groups are found on the network. Operators whose output channels are made of single channels (BN, ReLU, pooling,
// sums, flatten, scatter, ...) tie these. A grouped convolution keeps its groups, and each loses the same channels: it
// ties the channels in the same place of all groups. If its groups have one channel on either side, it ties whole
// groups instead (a depthwise one single channels). Channels of the images and of the outputs are in no group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ml/network/network.h"

namespace prunelab {

// What is removed together, in the network's order.
struct ChannelGroup {
  std::vector<std::pair<std::string, int64_t>> filters;      // convolution or linear layer, output
  std::vector<std::pair<std::string, int64_t>> readers;      // convolution or linear layer, input; no depthwise ones
  std::vector<std::pair<std::string, int64_t>> batch_norms;  // batch norm, channel
};

class ChannelGroups {
 public:
  explicit ChannelGroups(const NetworkInfo& info);

  // In the order of their first filters; each filter is in at most one group.
  const std::vector<ChannelGroup>& groups() const { return groups_; }
  // The group of a channel of node i; -1 if it is in none: a channel of the images, the logits, a constant, or a
  // scatter where nothing is put. Such channels stay.
  int64_t Of(int i, int64_t channel) const { return of_channel_[i][channel]; }
  // The channels of node i that stay if these groups go: bool [channels].
  at::Tensor Kept(int i, const std::vector<bool>& goes) const;

 private:
  std::vector<ChannelGroup> groups_;
  std::vector<std::vector<int64_t>> of_channel_;  // by node
};

// The groups of a network by themselves.
std::vector<ChannelGroup> FindChannelGroups(const NetworkInfo& info);

// A set: groups with a part of the same layers.
struct GroupSet {
  std::vector<size_t> groups;  // indices, ascending
  // The kinds of its layers with their parts, e.g. "conv2d filters, conv2d readers": sets of the same kinds are alike
  // to a ranking among sets of one kind.
  std::string kinds;
};

// In the order of their first groups; each group is in one.
std::vector<GroupSet> SetsOf(const std::vector<ChannelGroup>& groups, const NetworkInfo& info);

// How many of the n groups of a scope, whose groups are ranked together, go at `rate`, in [0, 1): int(n * rate) or, in
// some scopes, one more, spread evenly over the scopes by their index, so that a slightly higher rate does not take one
// from each of them at once.
int64_t GroupsToGo(int64_t n, double rate, size_t scope);

// Values in the shape of the weight of a convolution or linear layer, as [outputs, inputs / groups, ...].
at::Tensor ByOutput(const NetworkInfo& info, const std::string& node, const at::Tensor& values);

// The sums over those of a convolution's or linear layer's weights that read the same input: of `values`, in the shape
// of its weight, [inputs].
at::Tensor SumByInput(const NetworkInfo& info, const std::string& node, const at::Tensor& values);

}  // namespace prunelab
