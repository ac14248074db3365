#include "experiments/config/names.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "ml/base/glob.h"
#include "ml/base/spelling.h"

namespace prunelab {
namespace {

constexpr size_t kMaxNameBytes = 200;  // most file systems allow 255

std::vector<std::string> GlobParts(absl::string_view glob) {
  std::vector<std::string> parts;
  for (const absl::string_view part : absl::StrSplit(glob, ',')) parts.emplace_back(absl::StripAsciiWhitespace(part));
  return parts;
}

}  // namespace

std::string Quote(absl::string_view text) { return absl::StrCat("\"", absl::Utf8SafeCEscape(text), "\""); }

std::string ListOf(const std::vector<std::string>& names) {
  constexpr size_t kShown = 30;
  if (names.size() <= kShown) return absl::StrJoin(names, ", ");
  return absl::StrCat(absl::StrJoin(names.begin(), names.begin() + kShown, ", "), ", and ", names.size() - kShown,
                      " more");
}

std::string ArmChoices(absl::string_view name, const std::vector<std::string>& arms) {
  const std::string hint = DidYouMean(name, arms);
  return absl::StrCat(hint, hint.empty() ? "; " : " ", "arms: ", ListOf(arms));
}

std::string NameFault(absl::string_view name) {
  constexpr absl::string_view kRule =
      "; names become folders: write letters, digits, \"_\" or \"-\", e.g. \"dynamic_l1\"";
  std::string fault;
  if (name.empty()) return absl::StrCat("is empty", kRule);
  if (name.size() > kMaxNameBytes) return absl::StrCat("has ", name.size(), " bytes; must be at most ", kMaxNameBytes);
  for (const char c : name) {
    if (absl::ascii_iscntrl(static_cast<unsigned char>(c))) {
      fault = "has a control character";
    } else if (absl::StrContains("/\\*?,", c)) {
      fault = absl::StrCat("has a \"", std::string(1, c), "\"");
    }
    if (!fault.empty()) break;
  }
  if (fault.empty() && absl::StrContains(name, "..")) fault = "has \"..\"";
  if (fault.empty() && (name[0] == '-' || name[0] == '.'))
    fault = absl::StrCat("begins with \"", name.substr(0, 1), "\"");
  if (fault.empty() && absl::StripAsciiWhitespace(name) != name) fault = "begins or ends with a space";
  return fault.empty() ? "" : absl::StrCat("is ", Quote(name), ", which ", fault, kRule);
}

std::optional<std::string> UnmatchedPart(absl::string_view glob, const std::vector<std::string>& names) {
  for (const std::string& part : GlobParts(glob)) {
    if (std::none_of(names.begin(), names.end(), [&](const std::string& name) { return GlobMatches(part, name); })) {
      return part;
    }
  }
  return std::nullopt;
}

}  // namespace prunelab
