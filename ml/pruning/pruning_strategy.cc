#include "ml/pruning/pruning_strategy.h"

#include <ATen/ops/amax.h>

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "ml/base/field_error.h"
#include "ml/base/status_macros.h"
#include "ml/network/layer_selection.pb.h"
#include "ml/pruning/layers.h"
#include "ml/pruning/ranking.pb.h"

namespace prunelab {

at::Tensor MaskByFilter(const PrunableLayer& layer) { return at::amax(layer.mask, {1, 2, 3}, /*keepdim=*/true); }

namespace {

// A field error where the field `ranking` of a strategy's parameters names a layer that the network does not have.
absl::Status CheckRankedLayers(const google::protobuf::Message& parameters, const NetworkInfo& network) {
  const google::protobuf::FieldDescriptor* field = parameters.GetDescriptor()->FindFieldByName("ranking");
  if (field == nullptr || field->message_type() != Ranking::descriptor() || field->is_repeated()) {
    return absl::OkStatus();
  }
  const auto& ranking = static_cast<const Ranking&>(parameters.GetReflection()->GetMessage(parameters, field));
  const google::protobuf::FieldDescriptor* selection = parameters.GetDescriptor()->FindFieldByName("layers");
  std::set<std::string> chosen;
  if (ranking.layer_rate_size() > 0 && selection != nullptr &&
      selection->message_type() == LayerSelection::descriptor() && !selection->is_repeated()) {
    PRUNELAB_ASSIGN_OR_RETURN(
        chosen,
        ChosenLayers(static_cast<const LayerSelection&>(parameters.GetReflection()->GetMessage(parameters, selection)),
                     network));
  }
  for (int i = 0; i < ranking.layer_rate_size(); ++i) {
    const std::string& layer = ranking.layer_rate(i).layer();
    if (!chosen.empty() && chosen.count(layer) == 0 && network.Index(layer) >= 0) {
      return FieldError(
          absl::StrCat("ranking.layer_rate[", i, "].layer"),
          absl::StrCat("is \"", layer, "\", and the field layers leaves that out; take it out here, too"));
    }
    const bool known = std::any_of(network.convs().begin(), network.convs().end(),
                                   [&](const ConvInfo& conv) { return conv.node == layer; });
    if (known) continue;
    return FieldError(
        absl::StrCat("ranking.layer_rate[", i, "].layer"),
        absl::StrCat("is \"", layer, "\", and the network has no convolution of that name, as for example \"",
                     network.convs().empty() ? "" : network.convs()[0].node, "\""));
  }
  return absl::OkStatus();
}

}  // namespace

PluginRegistry<PruningStrategyFactory>& PruningStrategies() {
  static auto* registry = new PluginRegistry<PruningStrategyFactory>("pruning strategy", "//ml/pruning");
  return *registry;
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Any& parameters,
                                                                       const PruningSetup& setup) {
  PRUNELAB_ASSIGN_OR_RETURN(const PruningStrategyFactory* factory, PruningStrategies().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  if (setup.network != nullptr) PRUNELAB_RETURN_IF_ERROR(CheckRankedLayers(*message, *setup.network));
  return (*factory)(*message, setup);
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Message& parameters,
                                                                       const PruningSetup& setup) {
  google::protobuf::Any any;
  any.PackFrom(parameters);
  return CreatePruningStrategy(any, setup);
}

}  // namespace prunelab
