// Random pruning, the control of every importance: random filters or weights are masked, as many as the paper's rule
// masks at the same rate (int(n * rate) + 1, in total or in each layer), drawn once or redrawn every `period` steps.
//
// The draw is a function of the run's seed, the layer's name and the step, so nothing need be remembered across a
// restart.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "ml/pruning/pruning_strategy.h"
#include "ml/pruning/random.pb.h"

namespace prunelab {

// Refuses the scopes that scale importances: there are none.
absl::StatusOr<std::unique_ptr<PruningStrategy>> CreateRandom(const Random& parameters, const PruningSetup& setup);

}  // namespace prunelab
