#include "ml/models/model_builder.h"

#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"

namespace prunelab {

namespace {

// Sets the epsilon of every batch norm to the parameters' field `norm_epsilon`, where a family has it and it is set.
absl::Status SetNormEpsilon(const google::protobuf::Message& parameters, Network& network) {
  const google::protobuf::FieldDescriptor* field = parameters.GetDescriptor()->FindFieldByName("norm_epsilon");
  if (field == nullptr || !parameters.GetReflection()->HasField(parameters, field)) return absl::OkStatus();
  const double epsilon = parameters.GetReflection()->GetDouble(parameters, field);
  if (!(epsilon > 0 && std::isfinite(epsilon))) {
    return FieldError("norm_epsilon", absl::StrCat("is ", epsilon, "; must be above 0 and finite"));
  }
  for (Node& node : *network.mutable_node()) {
    if (node.has_batch_norm2d()) node.mutable_batch_norm2d()->set_epsilon(epsilon);
  }
  return absl::OkStatus();
}

}  // namespace

PluginRegistry<NetworkFactory>& NetworkFamilies() {
  static auto* registry = new PluginRegistry<NetworkFactory>("network family", "//ml/models");
  return *registry;
}

absl::StatusOr<Network> BuildNetwork(const google::protobuf::Any& parameters, const ImageDefaults& defaults) {
  PRUNELAB_ASSIGN_OR_RETURN(const NetworkFactory* factory, NetworkFamilies().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(Network network, (*factory)(*message, defaults));
  PRUNELAB_RETURN_IF_ERROR(SetNormEpsilon(*message, network));
  return network;
}

}  // namespace prunelab
