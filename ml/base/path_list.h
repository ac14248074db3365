// Several paths in one flag.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace prunelab {

// The paths of a list with commas between, each as UserPath has it. Names with commas are seen where they are there:
// "a,b" is one path if it exists. InvalidArgument where a and b exist too; "\," is a comma of a name whatever there is.
absl::StatusOr<std::vector<std::string>> PathsOf(absl::string_view list);

}  // namespace prunelab
