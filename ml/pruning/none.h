// No pruning: never updates a mask. The control of every comparison, and the way in which a level undoes a base's
// choice.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/pruning/none.pb.h"
#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateNoPruning(const NoPruning& parameters,
                                                                 const PruningSetup& setup);

}  // namespace prunelab
