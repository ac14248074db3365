// The hint for a misspelt name.
//
//   absl::StrCat("no arm is called \"", name, "\"", DidYouMean(name, arms))  // ...; did you mean "static/cov"?
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// `; did you mean "x"?` with the nearest of `names`, or "" when none is near: at most a third of the letters differ.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& names);

// The least number of letters inserted, deleted, replaced, or swapped with their neighbour that turns `a` into `b`
// (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b);

}  // namespace prunelab
