#include "ml/pruning/pruning_strategy.h"

#include <ATen/ops/amax.h>

#include "ml/base/status_macros.h"

namespace prunelab {

at::Tensor MaskByFilter(const PrunableLayer& layer) { return at::amax(layer.mask, {1, 2, 3}, /*keepdim=*/true); }

PluginRegistry<PruningStrategyFactory>& PruningStrategies() {
  static auto* registry = new PluginRegistry<PruningStrategyFactory>("pruning strategy", "//ml/pruning");
  return *registry;
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Any& parameters,
                                                                       const PruningSetup& setup) {
  PRUNELAB_ASSIGN_OR_RETURN(const PruningStrategyFactory* factory, PruningStrategies().Find(parameters));
  PRUNELAB_ASSIGN_OR_RETURN(const std::unique_ptr<google::protobuf::Message> message, UnpackAny(parameters));
  return (*factory)(*message, setup);
}

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreatePruningStrategy(const google::protobuf::Message& parameters,
                                                                       const PruningSetup& setup) {
  google::protobuf::Any any;
  any.PackFrom(parameters);
  return CreatePruningStrategy(any, setup);
}

}  // namespace prunelab
