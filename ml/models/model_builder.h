// The interface of a network family: a function from its parameters to a Network.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "absl/status/statusor.h"
#include "google/protobuf/any.pb.h"
#include "ml/base/plugin.h"
#include "ml/network/network.pb.h"

namespace prunelab {

// The data set's sizes. A builder uses them for what its parameters leave unset, and its own defaults if there is no
// data set.
struct ImageDefaults {
  std::optional<int64_t> classes, channels, height, width;
};

using NetworkFactory =
    std::function<absl::StatusOr<Network>(const google::protobuf::Message& parameters, const ImageDefaults& defaults)>;

// The linked network families.
PluginRegistry<NetworkFactory>& NetworkFamilies();

// Errors: not linked, not a network, parameters refused (a field error).
absl::StatusOr<Network> BuildNetwork(const google::protobuf::Any& parameters, const ImageDefaults& defaults);

// Makes a family known, from its .cc file: const bool registered = RegisterNetworkFamily(&CreateVgg);
template <typename Parameters>
bool RegisterNetworkFamily(absl::StatusOr<Network> (*create)(const Parameters&, const ImageDefaults&)) {
  NetworkFamilies().Register(Parameters::descriptor(),
                             [create](const google::protobuf::Message& parameters, const ImageDefaults& defaults) {
                               return create(static_cast<const Parameters&>(parameters), defaults);
                             });
  return true;
}

}  // namespace prunelab
