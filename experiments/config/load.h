// Ablation files (ablation.proto): loading, and the arms that follow.
//
//   PRUNELAB_ASSIGN_OR_RETURN(LoadedAblation loaded, LoadAblation("digits.textproto", "seeds { count: 1 }"));
//   for (const Arm& arm : loaded.arms) ...  // arm.config is complete
//
// Every mistake that a config alone can have is found here, before anything is trained or written.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/arms.h"

namespace prunelab {

struct LoadedAblation {
  Ablation ablation;      // file and override merged
  std::vector<Arm> arms;  // the first factor's level varies slowest; without excluded arms; never empty
};

// Loads the Ablation at `path` (resolved by UserPath), with `override_text`, more text of an Ablation, merged over it
// by MergePatch; "" is none. Plugins are checked by building them: network, strategy and regularizer of every arm, and
// the data set's description of itself. Missing data are not an error here.
//
// Errors are lines "file:line:col: what; what would be right", all that were found, without repetitions. An error of an
// arm points to where the field was set last, one in the override to "--override:line:col".
absl::StatusOr<LoadedAblation> LoadAblation(const std::string& path, absl::string_view override_text);

// The arms that an Ablation's text (ablation.textproto of a results folder) makes, those excluded too, unchecked: a run
// of an arm belongs to the ablation if it was made with this config. Errors: it does not parse, e.g. by plugins that
// are not linked; no arms, or too many.
absl::StatusOr<std::vector<Arm>> ArmsAsWritten(const std::string& text);

}  // namespace prunelab
