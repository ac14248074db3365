#include "ml/pruning/none.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {
namespace {

class NoPruningStrategy : public PruningStrategy {
 public:
  Granularity granularity() const override { return Granularity::kFilter; }
  // Of masks that the network already has: what they turn off is not trained.
  GradientPolicy gradient_policy() const override { return GradientPolicy::kMasked; }

  absl::StatusOr<std::optional<MaskUpdate>> Update(const StepPosition& position,
                                                   const std::vector<PrunableLayer>& layers) override {
    return std::nullopt;
  }
};

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateNoPruning(const NoPruning& parameters,
                                                                 const PruningSetup& setup) {
  return std::make_unique<NoPruningStrategy>();
}
const bool registered = RegisterPruningStrategy(&CreateNoPruning);

}  // namespace
}  // namespace prunelab
