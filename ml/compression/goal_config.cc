#include "ml/compression/goal_config.h"

#include <cstdint>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "ml/base/check.h"
#include "ml/base/field_error.h"

namespace prunelab {

std::string GoalField(const PruningGoal& goal) {
  switch (goal.goal_case()) {
    case PruningGoal::kMacs:
      return "macs";
    case PruningGoal::kParameters:
      return "parameters";
    case PruningGoal::kFileBytes:
      return "file_bytes";
    case PruningGoal::kLatency:
      return "latency";
    case PruningGoal::GOAL_NOT_SET:
      break;
  }
  return "";
}

absl::Status ValidateGoal(const PruningGoal& goal) {
  if (goal.goal_case() == PruningGoal::GOAL_NOT_SET) {
    return absl::InvalidArgumentError("has no goal; set one of macs, parameters, file_bytes and latency");
  }
  constexpr int64_t kMost = 65536;
  const double share = GoalShare(goal);
  if (!(share > 0 && share < 1)) {
    return FieldError(GoalField(goal), absl::StrCat("is ", share,
                                                    "; must be above 0 and below 1, a share of what the "
                                                    "dense network costs"));
  }
  for (const auto& [name, set, value] : {std::make_tuple("batch", goal.has_batch(), goal.batch()),
                                         std::make_tuple("threads", goal.has_threads(), goal.threads())}) {
    if (set && !IsMeasured(goal))
      return FieldError(name, absl::StrCat("goes with latency, not with ", GoalField(goal)));
    if (value < 1 || value > kMost) {
      return FieldError(name, absl::StrCat("is ", value, "; must be from 1 to ", kMost));
    }
  }
  return absl::OkStatus();
}

bool IsMeasured(const PruningGoal& goal) { return goal.goal_case() == PruningGoal::kLatency; }

double GoalShare(const PruningGoal& goal) {
  switch (goal.goal_case()) {
    case PruningGoal::kMacs:
      return goal.macs();
    case PruningGoal::kParameters:
      return goal.parameters();
    case PruningGoal::kFileBytes:
      return goal.file_bytes();
    case PruningGoal::kLatency:
      return goal.latency();
    case PruningGoal::GOAL_NOT_SET:
      break;
  }
  PRUNELAB_CHECK(false) << "no goal";
  return 0;
}

std::string GoalName(const PruningGoal& goal) {
  switch (goal.goal_case()) {
    case PruningGoal::kMacs:
      return "MACs";
    case PruningGoal::kParameters:
      return "parameters";
    case PruningGoal::kFileBytes:
      return "file size";
    case PruningGoal::kLatency:
      return absl::StrCat("time at batch ", goal.batch());
    case PruningGoal::GOAL_NOT_SET:
      break;
  }
  return "";
}

}  // namespace prunelab
