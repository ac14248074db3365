// When a strategy acts: functions of the step's position alone, so that nothing need be remembered across a restart.
#pragma once

#include <cstdint>

#include "ml/pruning/pruning_strategy.h"

namespace prunelab {

// The paper's rule: before iteration i of an epoch when (i + 1) % period == 0, in the epochs first_epoch to last_epoch,
// both included; a last_epoch of -1 is no limit. It counts iterations within the epoch: an epoch that is shorter than
// the period has no update.
inline bool IsPeriodicUpdate(const StepPosition& position, int64_t period, int64_t first_epoch, int64_t last_epoch) {
  return position.epoch >= first_epoch && (last_epoch == -1 || position.epoch <= last_epoch) &&
         (position.iteration + 1) % period == 0;
}

inline bool IsFirstStepOf(int64_t epoch, const StepPosition& position) {
  return position.epoch == epoch && position.iteration == 0;
}

}  // namespace prunelab
