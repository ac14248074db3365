#include "ml/base/path_list.h"

#include <cstddef>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "ml/base/files.h"

namespace prunelab {

absl::StatusOr<std::vector<std::string>> PathsOf(absl::string_view list) {
  std::vector<std::string> pieces = {""};
  for (size_t i = 0; i < list.size(); ++i) {
    if (list[i] == '\\' && i + 1 < list.size() && list[i + 1] == ',') {
      pieces.back() += ',';
      ++i;
    } else if (list[i] == ',') {
      pieces.emplace_back();
    } else {
      pieces.back() += list[i];
    }
  }
  const auto joined = [&](size_t begin, size_t end) {
    return absl::StrJoin(pieces.begin() + static_cast<std::ptrdiff_t>(begin),
                         pieces.begin() + static_cast<std::ptrdiff_t>(end), ",");
  };
  const auto is_there = [](const std::string& path) { return !path.empty() && PathExists(UserPath(path)); };
  std::vector<std::string> paths;
  for (size_t begin = 0; begin < pieces.size();) {
    // As many pieces as possible that together make an existing path.
    size_t end = pieces.size();
    while (end > begin + 1 && !is_there(joined(begin, end))) --end;
    bool each_is_there = end > begin + 1;
    for (size_t i = begin; i < end; ++i) each_is_there = each_is_there && is_there(pieces[i]);
    if (each_is_there) {
      return absl::InvalidArgumentError(
          absl::StrCat("\"", joined(begin, end),
                       "\" exists, and so do its parts between the commas; write \\, for a "
                       "comma in a name, or ",
                       pieces[begin], "/,", pieces[begin + 1], " for the parts"));
    }
    const std::string path = joined(begin, end);
    if (!absl::StripAsciiWhitespace(path).empty()) paths.push_back(UserPath(path));
    begin = end;
  }
  return paths;
}

}  // namespace prunelab
