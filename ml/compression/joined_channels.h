// Where exact removal leaves dead channels in place: what normalizes over channels computes with all of them.
#pragma once

#include <string>
#include <vector>

#include "ml/compression/weighted_network.h"

namespace prunelab {

// For each such operator of a network with dead channels among its input's that are needed, one sentence: "norm1 (layer
// norm) computes with all 96 channels of conv1, so 48 that are the same for every image stay". In the order of the
// nodes.
std::vector<std::string> DeadChannelsThatStay(const WeightedNetwork& network);

}  // namespace prunelab
