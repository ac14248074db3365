// Which convolutions a regularizer acts on: those that its LayerSelection names and that it can act on at all.
#pragma once

#include <functional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/network/network.h"

namespace prunelab {

// The nodes of the convolutions that match `layers` and are `eligible`. `description` says in an error which those are,
// as in "a kernel larger than 1x1". Error of the field "layers": nothing is left.
absl::StatusOr<std::set<std::string>> SelectConvs(const LayerSelection& layers, const NetworkInfo& network,
                                                  const std::function<bool(const ConvInfo&)>& eligible,
                                                  absl::string_view description);

}  // namespace prunelab
