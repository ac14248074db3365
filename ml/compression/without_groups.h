// Takes groups of coupled channels out of a network.
#pragma once

#include <cstdint>
#include <vector>

#include "ml/compression/weighted_network.h"
#include "ml/network/channel_groups.h"

namespace prunelab {

// The network without the groups of `grouping` that `goes` marks. Each node must keep a channel.
WeightedNetwork WithoutGroups(const WeightedNetwork& network, const NetworkInfo& info, const ChannelGroups& grouping,
                              const std::vector<bool>& goes);

// No node is left without channels: where all would go, its most important group stays. Returns how many stay for that.
int64_t KeepTheLast(const NetworkInfo& info, const ChannelGroups& grouping, const std::vector<double>& importances,
                    std::vector<bool>& goes);

}  // namespace prunelab
