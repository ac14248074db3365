#include "ml/pruning/scored_pruning.h"
#include "ml/pruning/static.pb.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateStatic(const Static& parameters, const PruningSetup& setup) {
  return CreateScoredPruning(parameters, setup);
}
const bool registered = RegisterPruningStrategy(&CreateStatic);

}  // namespace
}  // namespace prunelab
