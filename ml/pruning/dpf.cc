#include "ml/pruning/dpf.pb.h"
#include "ml/pruning/scored_pruning.h"

namespace prunelab {
namespace {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateDpf(const Dpf& parameters, const PruningSetup& setup) {
  return CreateScoredPruning(parameters, setup);
}
const bool registered = RegisterPruningStrategy(&CreateDpf);

}  // namespace
}  // namespace prunelab
