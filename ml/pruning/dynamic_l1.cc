#include "ml/pruning/dynamic_l1.pb.h"
#include "ml/pruning/scored_pruning.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateDynamicL1(const DynamicL1& parameters,
                                                                 const PruningSetup& setup) {
  return CreateScoredPruning(parameters, setup);
}
const bool registered = RegisterPruningStrategy(&CreateDynamicL1);

}  // namespace
}  // namespace prunelab
