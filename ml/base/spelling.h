// A hint for a misspelled name.
//
//   absl::StrCat("no arm is called \"", name, "\"", DidYouMean(name, arms))  // ...; did you mean "static/cov"?
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// `; did you mean "x"?` with the most similar of `names`, or "" if none is similar: at most a third of the letters may
// differ.
std::string DidYouMean(absl::string_view name, const std::vector<std::string>& names);

// The smallest number of insertions, deletions, replacements, and swaps of neighbouring letters that turn `a` into `b`
// (optimal string alignment).
size_t EditDistance(absl::string_view a, absl::string_view b);

}  // namespace prunelab
