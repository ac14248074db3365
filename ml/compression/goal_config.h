// What a PruningGoal says, without any network.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "ml/compression/goal.pb.h"

namespace prunelab {

// How far a share may be from the goal, as a share of the goal: of what is counted, and of what is measured.
inline constexpr double kCountedTolerance = 0.02, kMeasuredTolerance = 0.05;

// Field errors: none of the goals set; one outside (0, 1); batch or threads outside [1, 65536], or set for a goal that
// does not read them.
absl::Status ValidateGoal(const PruningGoal& goal);

bool IsMeasured(const PruningGoal& goal);
// The share of the dense network's cost that is asked for.
double GoalShare(const PruningGoal& goal);
// The goal's field, e.g. "macs", and what it is about, e.g. "MACs", for a sentence.
std::string GoalField(const PruningGoal& goal);
std::string GoalName(const PruningGoal& goal);

}  // namespace prunelab
