// What groups of coupled channels are to the loss on some images: by its gradients, and by taking them out.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ml/compression/group_importance.h"
#include "ml/compression/weighted_network.h"
#include "ml/network/channel_groups.h"
#include "ml/network/network_probe.h"

namespace prunelab {

// Of the loss (cross-entropy, evaluation mode) of single images; `images` has at least one.
ImageGradients GradientsOfImages(const WeightedNetwork& network, const NetworkInfo& info,
                                 const std::vector<ChannelGroup>& groups, const ProbeBatch& images);

// By set: the mean loss of the images without the least important groups of the set, and with all of the other sets:
// for 0, 1/points, 2/points, ... of the set's groups, rounded to the nearest, and for all but one.
std::vector<SetLosses> MeasureSetLosses(const WeightedNetwork& network, const NetworkInfo& info,
                                        const ChannelGroups& grouping, const std::vector<GroupSet>& sets,
                                        const std::vector<double>& importances, const ProbeBatch& images,
                                        int64_t points);

}  // namespace prunelab
