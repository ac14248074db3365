// Globs over names of arms and layers: "*" matches any run of characters ("." and "/" included), "?" one, and a comma
// means or. Spaces around a comma do not count.
#pragma once

#include "absl/strings/string_view.h"

namespace prunelab {

bool GlobMatches(absl::string_view glob, absl::string_view name);

}  // namespace prunelab
