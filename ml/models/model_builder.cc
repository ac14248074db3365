#include "ml/models/model_builder.h"

#include <memory>

#include "ml/base/status_macros.h"

namespace prunelab {

PluginRegistry<NetworkFactory>& NetworkFamilies() {
  static auto* registry = new PluginRegistry<NetworkFactory>("network family", "//ml/models");
  return *registry;
}

absl::StatusOr<Network> BuildNetwork(const google::protobuf::Any& parameters, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkFactory* factory, NetworkFamilies().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  return (*factory)(*message, defaults);
}

}  // namespace prunelab
