// --target, as the tools that prune to a goal read it.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "ml/compression/goal.pb.h"

namespace prunelab {

// The goal that --target gives, e.g. 'macs: 0.5'; no value if `text` is empty. Errors name the flag and the field.
absl::StatusOr<std::optional<PruningGoal>> ParseTarget(const std::string& text);

}  // namespace prunelab
