// Which values of a network lie on a grid: those that a FakeQuantize node returns, and those that are only moved about
// after it (by pooling maxima, ReLU, flatten, scatter, ...; Operator::KeepsValues). Such values are whole numbers but
// for the grid's scale, so what reads them can compute in integers.
#pragma once

#include <vector>

#include "ml/network/network.h"

namespace prunelab {

// By node: the FakeQuantize node on whose grid its values lie; -1: on none.
std::vector<int> ValueGrids(const NetworkInfo& info);

// Whether the network has a FakeQuantize node or a layer with weight_bits.
bool IsQuantized(const Network& network);

}  // namespace prunelab
