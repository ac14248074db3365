// Choosing a network's layers by globs over node names (LayerSelection).
//
//   layers { include: "layer*" exclude: "*.downsample.*" }
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/network.h"

namespace prunelab {

// The convolutions that `selection` chooses, in the network's order. Errors, of the selection's fields: a glob of
// `include` (they are parted by commas) that matches no convolution; an `exclude` that leaves none.
absl::StatusOr<std::vector<std::string>> SelectLayers(const LayerSelection& selection, const NetworkInfo& network);

// The same as a set, for a strategy's field `layers`, which the errors name.
absl::StatusOr<std::set<std::string>> ChosenLayers(const LayerSelection& layers, const NetworkInfo& network);

}  // namespace prunelab
