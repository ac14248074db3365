#include "experiments/config/selection.h"

#include <algorithm>
#include <limits>
#include <optional>
#include <string>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "experiments/config/names.h"
#include "ml/base/glob.h"

namespace prunelab {

absl::StatusOr<std::vector<Arm>> SelectArms(const std::vector<Arm>& arms, absl::string_view glob) {
  std::vector<std::string> names;
  for (const Arm& arm : arms) names.push_back(arm.name);
  if (const std::optional<std::string> part = UnmatchedPart(glob, names)) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(*part), " matches no arm", ArmChoices(*part, names)));
  }
  std::vector<Arm> selected;
  for (const Arm& arm : arms) {
    if (GlobMatches(glob, arm.name)) selected.push_back(arm);
  }
  return selected;
}

absl::StatusOr<Seeds> ParseSeeds(absl::string_view text) {
  const std::vector<absl::string_view> ends = absl::StrSplit(absl::StripAsciiWhitespace(text), absl::MaxSplits('-', 1));
  const auto is_number = [](absl::string_view end) {
    return !end.empty() && std::all_of(end.begin(), end.end(), absl::ascii_isdigit);
  };
  if (!is_number(ends.front()) || !is_number(ends.back())) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(text), " names no seeds; write first-last, e.g. 1-10, or one, e.g. 5"));
  }
  constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();
  int64_t first = 0, last = 0;
  if (!absl::SimpleAtoi(ends.front(), &first)) first = kLargest;
  if (!absl::SimpleAtoi(ends.back(), &last)) last = kLargest;
  if (last < first) {
    return absl::InvalidArgumentError(
        absl::StrCat(Quote(text), " ends before it begins; write ", last, "-", first, " for those seeds"));
  }
  if (last - first >= kMaxSeeds || first > kLargest - kMaxSeeds) {
    return absl::InvalidArgumentError(absl::StrCat(Quote(text), " is out of range; write at most ", kMaxSeeds,
                                                   " seeds, the first at most 2^63 - ", kMaxSeeds, " (",
                                                   kLargest - kMaxSeeds, ")"));
  }
  Seeds seeds;
  seeds.set_first(first);
  seeds.set_count(last - first + 1);
  return seeds;
}

}  // namespace prunelab
