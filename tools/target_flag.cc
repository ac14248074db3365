#include "tools/target_flag.h"

#include "ml/base/status_macros.h"
#include "ml/base/textproto.h"
#include "ml/base/with_prefix.h"
#include "ml/compression/goal_config.h"

namespace prunelab {

absl::StatusOr<std::optional<PruningGoal>> ParseTarget(const std::string& text) {
  if (text.empty()) return std::optional<PruningGoal>();
  PruningGoal goal;
  PRUNELAB_RETURN_IF_ERROR(TextProtoSource::Parse("--target", text, &goal).status());
  const absl::Status valid = ValidateGoal(goal);
  if (!valid.ok()) return WithPrefix("--target", valid);
  return std::optional<PruningGoal>(goal);
}

}  // namespace prunelab
