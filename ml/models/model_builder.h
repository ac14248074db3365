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

// Used by the registrations that network_family() in defs.bzl generates: `create` is
// absl::StatusOr<Network>(const Parameters&, const ImageDefaults&).
template <typename Parameters, typename Create>
bool RegisterNetworkFamily(const char* summary, const char* target, Create create) {
  NetworkFamilies().Register({Parameters::descriptor(), summary, target},
                             [create](const google::protobuf::Message& parameters, const ImageDefaults& defaults) {
                               return create(static_cast<const Parameters&>(parameters), defaults);
                             });
  return true;
}

}  // namespace prunelab
