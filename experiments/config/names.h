// Names in an ablation: what they may be, and what to say where one names nothing.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace prunelab {

// The text in double quotes, with what cannot be printed escaped.
std::string Quote(absl::string_view text);

// What is wrong with `name` and what would be right, as the rest of a sentence ("is empty; ..."), or "" if it is a
// valid name. Names become folders and appear in globs.
std::string NameFault(absl::string_view name);

// "a, b, c", or the first thirty "and 4 more".
std::string ListOf(const std::vector<std::string>& names);

// What to say after "no arm is called `name`": '; did you mean "x"? arms: a, b'.
std::string ArmChoices(absl::string_view name, const std::vector<std::string>& arms);

// The first comma-separated part of `glob` that matches none of `names`; no value where each matches one.
std::optional<std::string> UnmatchedPart(absl::string_view glob, const std::vector<std::string>& names);

}  // namespace prunelab
