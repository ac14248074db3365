// The arms and seeds that the user chooses on the command line.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "experiments/config/arms.h"

namespace prunelab {

// The arms that `glob` matches. If one of its comma-separated parts matches none, an error that lists the arms.
absl::StatusOr<std::vector<Arm>> SelectArms(const std::vector<Arm>& arms, absl::string_view glob);

// "3-12" -> first 3, count 10; "5" -> first 5, count 1.
absl::StatusOr<Seeds> ParseSeeds(absl::string_view text);

}  // namespace prunelab
