// Globs over names of arms and layers: "*" matches any number of characters (including "." and "/"), "?" matches one,
// and a comma means or. Spaces around a comma are ignored.
#pragma once

#include "absl/strings/string_view.h"

namespace prunelab {

bool GlobMatches(absl::string_view glob, absl::string_view name);

}  // namespace prunelab
