// For tests of network families.
#pragma once

#include "absl/status/statusor.h"
#include "ml/network/network.h"

namespace prunelab {

// The network with its shapes; a test fails where it could not be built.
NetworkInfo BuiltNetwork(const absl::StatusOr<Network>& network);

}  // namespace prunelab
