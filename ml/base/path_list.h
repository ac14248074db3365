// Several paths in one flag.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// The paths of a comma-separated list, each resolved by UserPath. A name that contains a comma is recognized if it
// exists: "a,b" is one path if there is such a file, and InvalidArgument if a and b exist too. "\," always means a
// comma within a name.
absl::StatusOr<std::vector<std::string>> PathsOf(absl::string_view list);

}  // namespace prunelab
