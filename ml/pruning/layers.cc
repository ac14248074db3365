#include "ml/pruning/layers.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "ml/base/field_error.h"
#include "ml/base/glob.h"

namespace prunelab {

absl::StatusOr<std::vector<std::string>> SelectLayers(const LayerSelection& selection, const NetworkInfo& network) {
  std::vector<std::string> convs;
  for (const ConvInfo& conv : network.convs()) convs.push_back(conv.node);
  if (convs.empty()) return FieldError("include", "the network has no convolution to choose");
  for (const absl::string_view part : absl::StrSplit(selection.include(), ',')) {
    const absl::string_view glob = absl::StripAsciiWhitespace(part);
    if (std::none_of(convs.begin(), convs.end(), [&](const std::string& conv) { return GlobMatches(glob, conv); })) {
      return FieldError("include", absl::StrCat("\"", glob, "\" matches no convolution; the network has ",
                                                absl::StrJoin(convs, ", ")));
    }
  }
  std::vector<std::string> selected;
  for (const std::string& conv : convs) {
    if (!GlobMatches(selection.include(), conv)) continue;
    if (selection.has_exclude() && GlobMatches(selection.exclude(), conv)) continue;
    selected.push_back(conv);
  }
  if (selected.empty()) {
    return FieldError("exclude", absl::StrCat("\"", selection.exclude(), "\" leaves no convolution of those that \"",
                                              selection.include(), "\" includes"));
  }
  return selected;
}

absl::StatusOr<std::set<std::string>> ChosenLayers(const LayerSelection& layers, const NetworkInfo& network) {
  const absl::StatusOr<std::vector<std::string>> nodes = SelectLayers(layers, network);
  if (!nodes.ok()) return InField("layers", nodes.status());
  return std::set<std::string>(nodes->begin(), nodes->end());
}

}  // namespace prunelab
