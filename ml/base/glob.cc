#include "ml/base/glob.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"

namespace prunelab {
namespace {

bool Matches(absl::string_view glob, absl::string_view name) {
  // Greedy with one point to return to: the last "*" then takes one more character.
  size_t g = 0, n = 0, star = absl::string_view::npos, from = 0;
  while (n < name.size()) {
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      from = n;
    } else if (g < glob.size() && (glob[g] == '?' || glob[g] == name[n])) {
      ++g;
      ++n;
    } else if (star != absl::string_view::npos) {
      g = star + 1;
      n = ++from;
    } else {
      return false;
    }
  }
  while (g < glob.size() && glob[g] == '*') ++g;
  return g == glob.size();
}

}  // namespace

bool GlobMatches(absl::string_view glob, absl::string_view name) {
  for (const absl::string_view part : absl::StrSplit(glob, ',')) {
    if (Matches(absl::StripAsciiWhitespace(part), name)) return true;
  }
  return false;
}

}  // namespace prunelab
